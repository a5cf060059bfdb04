"""Rows of the embedding and the head that learn while other rows, or all else, stay as they are, bit for bit.

What must not move gets no gradient (a hook makes it zero before DeepSpeed sees it, so moments stay zero and the norm is
that of what learns) and no weight decay, which moves what has no gradient: matrices with rows of both kinds do not
decay while they are masked, and all else has learning rate 0 meanwhile. Which rows learn depends on the step alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cslm.model.extension import embedding_weights


class RowTraining:
    """Which rows of embedding and head learn at a step, and whether anything else does."""

    def __init__(self, model: PreTrainedModel, first_row: int, first_steps: int = 0, always: bool = False) -> None:
        """The plan; :meth:`attach` puts it into force.

        Args:
            model: before it is sharded; embedding and head are its input and output embeddings, tied or not.
            first_row: rows from here on learn.
            first_steps: in so many steps nothing but these rows learns.
            always: the rows before ``first_row`` never learn, in later steps neither.
        """
        self.weights = [weight for weight in embedding_weights(model) if weight.dim() == 2 and weight.requires_grad]
        self.first_row = first_row
        self.first_steps = first_steps
        self.always = always
        self.begin(0, 0)

    def begin(self, step: int, last_step: int) -> None:
        """Before the forward pass of a step, counted from 0."""
        self.alone = step < self.first_steps
        self.masked = self.alone or self.always

    def attach(self, module: nn.Module) -> None:
        """Mask the gradients of ``module``, which holds the model; after DeepSpeed has taken it."""
        rows = {id(weight) for weight in self.weights}
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.register_hook(self._only_new_rows if id(parameter) in rows else self._unless_alone)

    def restrict(self, group: dict[str, Any]) -> None:
        """Take from a group of the optimizer, whose learning rate is set, what it must not do in this step."""
        if "decay_of_rows" in group:
            group["weight_decay"] = 0.0 if self.masked else group["decay_of_rows"]
        elif self.alone:
            group["lr"] = 0.0

    def _only_new_rows(self, gradient: Tensor) -> Tensor:
        if not self.masked:
            return gradient
        return torch.cat((torch.zeros_like(gradient[: self.first_row]), gradient[self.first_row :]))

    def _unless_alone(self, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient) if self.alone else gradient
