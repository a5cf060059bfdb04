"""``pretrain``: a text model from scratch, or continual pre-training on speech and text (paper section 3.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.configuration import parse_configuration
from cslm.training.language_model import train_language_model
from cslm.training.language_model_config import LanguageModelConfig


@dataclass
class PretrainConfig(LanguageModelConfig):
    """One pre-training run. A base without units is extended by those of ``tokenizer_card``."""


def pretrain(config: PretrainConfig) -> None:
    """Train to the end of the configuration; an interrupted run goes on, a finished one says so.

    Raises:
        UserError: see :func:`~cslm.training.language_model.train_language_model`.
    """
    train_language_model(config)


def main(arguments: list[str]) -> None:
    """``pretrain --config YAML [--section.key value ...]``"""
    pretrain(parse_configuration(PretrainConfig, arguments, "pretrain"))
