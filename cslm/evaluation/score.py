"""Score a checkpoint: ``python recipes/score.py CHECKPOINT --config YAML --output results.json``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cslm.configuration import given_keys, parse_configuration, save_configuration
from cslm.errors import UserError
from cslm.evaluation.score_config import ScoreConfig
from cslm.evaluation.score_contract import Record, Score, check_files
from cslm.evaluation.scored_model import ScoredModel, open_scored_model
from cslm.evaluation.scores import SCORES, config_class, named_scores
from cslm.files.atomic_file import write_atomically
from cslm.files.can_be_made import check_can_be_made
from cslm.files.json_lines import write_json_lines


def score(config: ScoreConfig) -> dict[str, Any]:
    """Score the checkpoint; returns the results.

    Writes ``results.json``: ``scores`` by name, ``cores``, ``seed``. Beside it the files of the scores.

    Raises:
        UserError: a checkpoint, a decoder or a test set that cannot be used.
    """
    scores = named_scores(config)
    if not scores:
        raise UserError(f"score: no score is named: give scores.NAME, of {', '.join(SCORES)}")
    check_can_be_made("output", config.output)
    root, output = Path(config.data_root), Path(config.output)
    other = config.ears.other
    check_files(root, [*(name for one in scores.values() for name in one.files()), *(other.sentences if other else ())])
    scored = open_scored_model(config)
    for name, one in scores.items():
        if scored.audio_model is not None and not one.takes_audio_models:
            raise UserError(
                f"scores.{name} needs a model with units, and {config.checkpoint} hears recordings as vectors: "
                "leave it out"
            )
    for one in scores.values():
        one.check(scored)
    results, files = _computed(scores, scored)
    for name, records in files.items():
        write_json_lines(records, output.parent / name)
    found = {"scores": results, "cores": len(os.sched_getaffinity(0)), "seed": config.seed}
    save_configuration(config, output.with_name(f"{output.stem}_config.yaml"))
    write_atomically(output, (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
    return found


def _computed(scores: Mapping[str, Score], scored: ScoredModel) -> tuple[Record, dict[str, list[Record]]]:
    """The results of each score by name, and the lines of the files beside results.json."""
    results: Record = {}
    files: dict[str, list[Record]] = {}
    for name, one in scores.items():
        start = time.perf_counter()
        computed = one.compute(scored)
        print(f"{name}: scored in {time.perf_counter() - start:.1f} s", flush=True)
        results[name] = computed.results
        for file, records in computed.files.items():
            files.setdefault(file, []).extend(records)
    return results, files


def parse_score_configuration(arguments: list[str]) -> ScoreConfig:
    """The configuration that arguments and files give: the settings of the scores that they name, and of no other.

    Raises:
        UserError: an unknown score or key, a wrong type, or a key that is called otherwise now.
    """
    keys = given_keys(arguments, "score")
    named = dict.fromkeys(key.split(".")[1] for key in keys if key.startswith("scores."))
    asks_for_help = {"-h", "--help"} & set(arguments)
    return parse_configuration(config_class(SCORES if asks_for_help else named), arguments, "score", ("checkpoint",))


def main(arguments: list[str]) -> None:
    """Parse ``CHECKPOINT --config YAML --output results.json``, score, and print the results."""
    results = score(parse_score_configuration(arguments))
    print(json.dumps(results, ensure_ascii=False, indent=2))
