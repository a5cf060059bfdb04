"""The connectors that there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from cslm.chosen_section import chosen_section, open_chosen
from cslm.model.speech_prompt.connector import Between, Connector
from cslm.model.speech_prompt.connector_config import ConnectorConfig

# Section of ConnectorConfig -> "module:Class", made from its settings and a Between. Imported only when used.
CONNECTORS = {
    "qformer": "cslm.model.speech_prompt.window_qformer:WindowQFormer",
    "convolutions": "cslm.model.speech_prompt.gated_convolutions:GatedConvolutions",
    "stacked": "cslm.model.speech_prompt.stacked:StackedFrames",
    "query_bank": "cslm.model.speech_prompt.query_bank:QueryBank",
}


def build_connector(config: ConnectorConfig, between: Between) -> Connector:
    """A new connector, in training mode; the random state of the caller is left alone.

    Raises:
        UserError: no connector is named, or several are, or one that cannot be made.
    """
    with torch.random.fork_rng():
        torch.manual_seed(between.seed)
        connector: Connector = open_chosen(config, "connector", CONNECTORS, between)
    return connector.train()


def located(config: ConnectorConfig, existing: Callable[[str], str]) -> ConnectorConfig:
    """The settings with what they name where it lies: ``existing`` says where that is."""
    bank = config.query_bank
    if bank is None or bank.whisper is None:
        return config
    return dataclasses.replace(config, query_bank=dataclasses.replace(bank, whisper=existing(bank.whisper)))


def without_weights(config: ConnectorConfig) -> ConnectorConfig:
    """Settings of a connector of the same sizes that starts from no weights of others; where to is looked up.

    Raises:
        UserError: the sizes cannot be read.
    """
    bank = config.query_bank
    if bank is None or bank.whisper is None:
        return config
    from cslm.model.speech_prompt.whisper_qformer import shape_of

    shape = shape_of(bank.whisper, bank.revision, bank.layers)
    sized = dataclasses.replace(bank, whisper=None, revision=None, layers=None, shape=shape)
    return dataclasses.replace(config, query_bank=sized)


def settled(config: ConnectorConfig, connector: Connector) -> ConnectorConfig:
    """The settings that a trained connector is made from again: without the weights that it began with."""
    own = getattr(connector, "settings", None)
    return config if own is None else dataclasses.replace(config, **{chosen_section(config, "connector")[0]: own})
