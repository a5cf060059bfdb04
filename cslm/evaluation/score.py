"""Score a checkpoint: ``python recipes/score.py CHECKPOINT --config YAML --output results.json``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cslm.configuration import parse_configuration, save_configuration
from cslm.errors import UserError
from cslm.evaluation.dialogue_scores import answer_dialogues, dialogue_scores
from cslm.evaluation.score_config import ScoreConfig
from cslm.evaluation.scored_model import open_scored_model
from cslm.evaluation.speech_scores import asr_scores, tts_scores
from cslm.files.atomic_file import write_atomically
from cslm.files.json_lines import write_json_lines

Result = TypeVar("Result")


def score(config: ScoreConfig) -> dict[str, Any]:
    """Score the checkpoint; returns the results.

    Writes ``results.json``; beside it ``transcripts.jsonl`` (what was heard of each item), ``replies.jsonl`` and
    ``replies/`` (the spoken answers).

    Raises:
        UserError: a checkpoint, a decoder or a test set that cannot be used.
    """
    output = Path(config.output)
    scored = open_scored_model(config)
    results: dict[str, Any] = {}
    if config.asr_test is not None or config.asr_unheard_voice is not None or config.asr_sets:
        results["asr"] = _timed("asr", lambda: asr_scores(scored))
    if config.tts_test is not None:
        results["tts"] = _timed("tts", lambda: tts_scores(scored))
    if config.test_dialogues is not None:
        replies = _timed("dialogue", lambda: answer_dialogues(scored, output.parent / "replies"))
        write_json_lines(replies, output.parent / "replies.jsonl")
        results["dialogue"] = dialogue_scores(replies, config.seed)
    if scored.transcripts:
        write_json_lines(scored.transcripts, output.parent / "transcripts.jsonl")
    if not results:
        raise UserError("score: no test set is named: give asr_test, asr_sets, tts_test or test_dialogues")
    results |= _circumstances(config)
    save_configuration(config, output.with_name(f"{output.stem}_config.yaml"))
    write_atomically(output, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
    return results


def read_stage_seconds(folder: Path) -> dict[str, float]:
    """The seconds of each finished stage, in the order in which they finished, and their ``total``.

    Each stands in a file ``STAGE.json`` with ``{"seconds": ...}``.

    Raises:
        UserError: a file that holds something else.
    """
    seconds: dict[str, float] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            seconds[path.stem] = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} holds no number of seconds ({error}): remove it and run its stage again") from None
    return {**seconds, "total": round(sum(seconds.values()), 1)}


def _circumstances(config: ScoreConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "seed": config.seed}
    if config.stages is not None:
        found["seconds"] = read_stage_seconds(Path(config.data_root) / config.stages)
    return found


def _timed(name: str, part: Callable[[], Result]) -> Result:
    start = time.perf_counter()
    result = part()
    print(f"{name}: scored in {time.perf_counter() - start:.1f} s", flush=True)
    return result


def main(arguments: list[str]) -> None:
    """Parse ``CHECKPOINT --config YAML --output results.json``, score, and print the results."""
    results = score(parse_configuration(ScoreConfig, arguments, "score", ("checkpoint",)))
    print(json.dumps(results, ensure_ascii=False, indent=2))
