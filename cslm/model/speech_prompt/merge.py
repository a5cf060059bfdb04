"""``merge``: one whole folder of a speech prompt's checkpoint and the frozen parts that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.model.local_folder import local_folder
from cslm.model.speech_prompt.prompt_checkpoint import holds_prompt, merge_prompt


@dataclass
class MergeConfig:
    """What is merged, and where it goes."""

    checkpoint: str
    """folder of a run of train-prompt, or its id on the Hub"""
    output: str
    """folder that is made"""
    llm: str | None = None
    """folder or Hub id of the frozen language model, where it lies elsewhere now; its tensors must be the same"""
    encoder: str | None = None
    """the same of the frozen encoder"""


def merge(config: MergeConfig) -> None:
    """Write the whole folder.

    Raises:
        UserError: no checkpoint of a speech prompt, an output that is there, or frozen parts that are others.
    """
    folder = local_folder(config.checkpoint)
    if not holds_prompt(folder):
        raise UserError(f"{folder} is no checkpoint of train-prompt: what other runs write is whole already")
    merge_prompt(folder, Path(config.output), config.llm, config.encoder)
    print(f"{config.output}: connector, encoder and language model", flush=True)


def main(arguments: list[str]) -> None:
    """``merge CHECKPOINT OUTPUT [--llm FOLDER] [--encoder FOLDER]``"""
    merge(parse_configuration(MergeConfig, arguments, "merge", ("checkpoint", "output")))
