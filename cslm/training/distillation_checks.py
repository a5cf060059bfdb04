"""What distillation needs of a run: said before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping

from cslm.batches.source_config import SourceConfig
from cslm.batches.weights import is_never_drawn
from cslm.errors import UserError
from cslm.model.speech_prompt.connector_config import ConnectorConfig
from cslm.model.speech_prompt.prompt_losses_config import PromptLossesConfig
from cslm.model.speech_prompt.query_bank_config import GATES_WITHOUT_NETWORK

TASK = "audio_distillation"
OF_STATES = ("input_distillation", "output_distillation", "output_kl")


def check_distillation(
    connector: ConnectorConfig, losses: PromptLossesConfig, sources: Mapping[str, SourceConfig]
) -> None:
    """Make sure that losses have what they are computed from, and that what is read is learnt from.

    Raises:
        UserError: they do not, by name.
    """
    drawn = {name: source for name, source in sources.items() if not is_never_drawn(source.weight)}
    taught = [name for name, source in drawn.items() if source.task == TASK]
    given = [name for name in OF_STATES if getattr(losses, name) is not None]
    if given and not taught:
        raise UserError(f"losses.{given[0]} needs a source with the task {TASK}, and there is none: add one")
    if taught and not given:
        raise UserError(
            f"the source {taught[0]} has the task {TASK}, which writes nothing to learn: give one of the losses "
            f"{', '.join(OF_STATES)}"
        )
    if losses.language_identification is not None:
        _check_gate(connector)
        if not taught:
            raise UserError(
                f"losses.language_identification learns from sources with the task {TASK}, and there is none: add one"
            )


def _check_gate(connector: ConnectorConfig) -> None:
    gate = None if connector.query_bank is None else connector.query_bank.gate
    if gate is None or gate.network in GATES_WITHOUT_NETWORK:
        found = "there is none" if gate is None else f"{gate.network} learns nothing"
        raise UserError(
            f"losses.language_identification needs connector.query_bank.gate, and {found}: give it the network "
            "convolutional or attention, or leave the loss out"
        )
