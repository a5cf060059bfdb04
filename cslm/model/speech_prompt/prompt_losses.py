"""The losses of a speech prompt, by name."""

from __future__ import annotations

import dataclasses
import importlib

from cslm.errors import UserError
from cslm.model.objective import Term
from cslm.model.speech_prompt.heard_row import HeardRow, PromptLoss
from cslm.model.speech_prompt.prompt_losses_config import CrossEntropyConfig, PromptLossesConfig

# Section of PromptLossesConfig -> "module:Class", made from its settings. Imported only when used.
PROMPT_LOSSES = {
    "cross_entropy": "cslm.model.speech_prompt.prompt_losses:CrossEntropy",
    "language_identification": "cslm.model.speech_prompt.distillation:LanguageIdentification",
    "input_distillation": "cslm.model.speech_prompt.distillation:InputDistillation",
    "output_distillation": "cslm.model.speech_prompt.distillation:OutputDistillation",
    "output_kl": "cslm.model.speech_prompt.distillation:OutputKl",
    "imitation_kl": "cslm.model.speech_prompt.imitation_kl:ImitationKl",
}


class CrossEntropy:
    """The mean over the targets of rows."""

    def __init__(self, settings: CrossEntropyConfig) -> None:
        self._weight = settings.weight

    def __call__(self, heard: HeardRow) -> Term:
        """See :class:`PromptLoss`."""
        return Term(heard.targets.sum, "targets", self._weight)


def open_losses(config: PromptLossesConfig) -> dict[str, PromptLoss]:
    """The losses by name, in the order of the configuration's fields.

    Raises:
        UserError: none is given.
    """
    names = [section.name for section in dataclasses.fields(config)]
    found: dict[str, PromptLoss] = {}
    for name in names:
        settings = getattr(config, name)
        if settings is not None:
            module, _, attribute = PROMPT_LOSSES[name].partition(":")
            found[name] = getattr(importlib.import_module(module), attribute)(settings)
    if not found:
        raise UserError(f"losses: none is given: give the settings of one or more of {', '.join(names)}")
    return found
