"""What the commands share that measure replies: arguments, the questions of a file, a JSON file with the figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cslm.benchmarks.timed_reply import read_asked
from cslm.errors import UserError
from cslm.files.written_yaml import expand_path, path_of
from cslm.generation.decoding import DecodingConfig


def figures_parser(description: str | None) -> argparse.ArgumentParser:
    """A command whose figures go to ``--json``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=path_of, help="write the figures to this file")
    return parser


def reply_parser(description: str | None, questions: int) -> argparse.ArgumentParser:
    """One that asks a checkpoint the questions of a file."""
    parser = figures_parser(description)
    parser.add_argument("checkpoint", type=expand_path, help="folder of a fine-tuned checkpoint")
    parser.add_argument("dialogues", type=path_of, help="dialogues.jsonl of the evaluation")
    parser.add_argument("manifest", type=expand_path, help="that knows the audio of the questions")
    parser.add_argument("--questions", type=int, default=questions, help="the first so many")
    parser.add_argument("--decoder", type=expand_path, help="folder of a speech decoder in the place of its own")
    most = DecodingConfig().max_new_tokens
    parser.add_argument("--max_new_tokens", type=int, default=most, help="of a reply")
    return parser


def measure(given: argparse.Namespace, measured: Callable[[], dict[str, Any]]) -> None:
    """Print the figures, and write them where they are wanted.

    Raises:
        UserError: a file in a folder that is not there; nothing is measured then.
    """
    where: Path | None = given.json
    if where is not None and not where.parent.is_dir():
        raise UserError(f"--json: there is no folder {where.parent}")
    found = measured()
    print(*(f"{name}: {value}" for name, value in found.items()), sep="\n")
    if where is not None:
        where.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure_replies(given: argparse.Namespace, measured: Callable[[Any, list[Any]], dict[str, Any]]) -> None:
    """The figures of the checkpoint that is given, and of the questions.

    Raises:
        UserError: what cannot be read.
    """
    from cslm.generation.modeling import CSLMForCausalLM

    def of_checkpoint() -> dict[str, Any]:
        asked = read_asked(given.dialogues, given.manifest, given.questions)
        model = CSLMForCausalLM.from_pretrained(given.checkpoint, decoder=given.decoder).eval()
        return measured(model, asked)

    measure(given, of_checkpoint)
