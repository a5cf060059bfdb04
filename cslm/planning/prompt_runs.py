"""Runs of ``train-prompt`` for the verbs that look at a run before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from cslm.configuration import given_keys
from cslm.model.backbone import load_text_tokenizer, model_shape
from cslm.model.speech_prompt.prompt_shape import PromptShape, shape_of_prompt
from cslm.sequences.sequence_format import SequenceFormat
from cslm.training.language_model_config import RunPaths
from cslm.training.prompt_config import TrainPromptConfig
from cslm.training.run_data import open_format
from cslm.training.train_prompt import prompt_settings

_SECTIONS = {"encoder", "connector", "losses"}


def is_prompt_run(arguments: Sequence[str], verb: str) -> bool:
    """Whether the run that ``verb`` is asked about is one of ``train-prompt``: it names parts that no other run has.

    Raises:
        UserError: an unreadable YAML file.
    """
    return bool(_SECTIONS & {key.split(".")[0] for key in given_keys(arguments, verb)})


def shape_of_run(config: TrainPromptConfig, paths: RunPaths) -> PromptShape:
    """The sizes of the run's parts; no weights are read.

    Raises:
        UserError: parts whose sizes cannot be told or that do not belong together.
    """
    llm = model_shape(replace(config.model, base=paths.base, revision=None))
    return shape_of_prompt(prompt_settings(config, paths), llm, config.model.attention)


def format_of_run(
    config: TrainPromptConfig, paths: RunPaths, shape: PromptShape
) -> tuple[PreTrainedTokenizerBase, SequenceFormat]:
    """The text tokenizer, and how documents with clips are written.

    Raises:
        UserError: a text tokenizer that cannot be read.
    """
    tokenizer = load_text_tokenizer(str(paths.base))
    return tokenizer, open_format(config, paths, tokenizer).hearing_by(shape.hearing(tokenizer))
