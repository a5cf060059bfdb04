"""What the claims of both methods on the speech prompt share, once a seed: corpus, encoder, language model, frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cslm.benchmarks.claims.prompt_documents import LAST, write_prompt_documents
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.worlds import settings_file, told_by, train
from cslm.files.json_lines import read_json_lines

WORLD = "prompt"
LANGUAGES = ("en", "zh", "fr", "de", "ja")
LLM, RECOGNIZER = "text_lm", "recognizer"
"""folders of what is frozen"""
TEXT_ONLY, CASCADE = "text only", "cascade"
"""What the language model answers to the transcript itself, and to what was heard."""


def make_parts(stages: Stages, seed: int) -> None:
    """The corpus and what is frozen; every recording of training as the encoder hears it."""
    make_hearing(stages, seed)
    train(stages, seed, WORLD, "pretrain", LLM, ("text_lm",))


def make_hearing(stages: Stages, seed: int) -> None:
    """The same without a language model."""
    make_corpus(stages, seed)
    train(stages, seed, WORLD, "train-recognizer", RECOGNIZER, ("recognizer",))
    run_with(stages, "frames", "make-frames", ("corpus/train.jsonl", "--output", "frames"), ("hearing",))


def make_corpus(stages: Stages, seed: int) -> None:
    """The corpus with its documents."""
    village, pool = (settings_file(WORLD, name) for name in ("village", "tasks"))
    told = ["village", "corpus", "--size", str(village), "--seed", str(seed)]
    stages.run("corpus", "prepare-corpus", told, [village, pool])
    if not (stages.folder / "corpus" / LAST).is_file():
        write_prompt_documents(stages.folder / "corpus", village, pool, seed)


def run_with(
    stages: Stages, name: str, verb: str, arguments: Sequence[str], settings: Sequence[str], files: Sequence[Path] = ()
) -> None:
    """Run a stage with some settings of the world.

    Args:
        arguments: of the verb, before the settings.
        settings: names of YAML files of configuration, the later ones winning.
        files: others that decide the result and stand in the arguments.
    """
    found = [settings_file(WORLD, setting) for setting in settings]
    stages.run(name, verb, [*arguments, *told_by(found)], [*found, *files])


def connect(stages: Stages, seed: int, arm: str, settings: Sequence[str], stop: int | None = None) -> None:
    """Train the connector of an arm, perhaps up to a step: what all share, what its method shares, its own."""
    train(stages, seed, WORLD, "train-prompt", arm, ("parts", *settings, arm), stop)


def lines_of(stages: Stages, name: str) -> list[dict[str, Any]]:
    """The records of a JSON Lines file of the seed."""
    return [record for _, record in read_json_lines(stages.folder / name)]
