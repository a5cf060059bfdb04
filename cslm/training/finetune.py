"""``finetune``: teach a pre-trained speech language model to answer, by chain of modality (paper section 3.3.2)."""

from __future__ import annotations

from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.training.language_model import train_language_model
from cslm.training.language_model_config import FinetuneConfig


def finetune(config: FinetuneConfig) -> None:
    """Train to the end of the configuration; an interrupted run goes on, a finished one says so.

    Raises:
        UserError: no ``model.base``; see also :func:`~cslm.training.language_model.train_language_model`.
    """
    if config.model.base is None:
        raise UserError("finetune needs model.base: the folder of a checkpoint made by pretrain")
    train_language_model(config, config.decoder)


def main(arguments: list[str]) -> None:
    """``finetune --config YAML [--section.key value ...]``"""
    finetune(parse_configuration(FinetuneConfig, arguments, "finetune"))
