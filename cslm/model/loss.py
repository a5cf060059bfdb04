"""The training loss of a causal language model: summed cross-entropy over the trained tokens, also by group."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cslm.batches.packed_row import PackedRow
from cslm.errors import UserError
from cslm.model.document_attention import DOCUMENT_ATTENTION, PackedDocuments
from cslm.model.head_loss import head_loss
from cslm.model.objective import GroupReport, Objective, Term

# Backbones whose logits are the head's, under a cap where the configuration has one; others keep theirs whole.
_PLAIN_HEADS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "olmo2", "phi3")


class LanguageModelLoss(nn.Module):
    """A causal language model of transformers with its loss over packed rows.

    Logits exist only at the positions that predict a trained token: everything else never reaches the head. And they
    exist a chunk at a time (:mod:`cslm.model.head_loss`): the logits of 8,192 tokens over 132,356 ids are 4 GiB, and
    cross-entropy makes more of that size.
    """

    def __init__(self, model: PreTrainedModel, num_groups: int, loss_kernel: str = "auto") -> None:
        """The loss of ``model``, reported in ``num_groups`` groups; ``loss_kernel`` as in :func:`head_loss`."""
        super().__init__()
        self.model = model
        self.num_groups = num_groups
        self.loss_kernel = loss_kernel

    def forward(self, row: PackedRow) -> Objective:
        """The cross-entropy of one packed row: one term, the mean over its targets."""
        arguments = {"input_ids": row.input_ids, **row_arguments(self.model, row)}
        read = read_row(self.model, arguments, row.target_positions, self.loss_kernel)
        losses = token_losses(self.model, read, row, self.loss_kernel)
        return Objective({"cross_entropy": Term(losses.sum, "targets")}, report_by_group(losses, row, self.num_groups))


class ReadRow(NamedTuple):
    """What a model has made of a packed row."""

    at_targets: Tensor
    """(targets, width) its last hidden states where a trained token is predicted; of a model whose head is not a plain
    matrix its logits (targets, ids), float32"""
    hidden: Tensor
    """(tokens, width) its last hidden states"""


class TargetLosses(NamedTuple):
    """The cross-entropy of the targets of a row."""

    sum: Tensor
    """() weighted, with gradient"""
    losses: Tensor
    """(targets,) of each"""
    correct: Tensor
    """(targets,) whether each prediction is right"""


def row_arguments(model: PreTrainedModel, row: PackedRow) -> dict[str, Any]:
    """What a model is called with on a packed row, but for what stands in it: ids, or their embeddings."""
    arguments: dict[str, Any] = {"position_ids": row.position_ids, "use_cache": False}
    if model.config._attn_implementation == DOCUMENT_ATTENTION:
        arguments["documents"] = PackedDocuments(row.boundaries, row.input_ids.device)
    return arguments


def read_row(model: PreTrainedModel, arguments: Mapping[str, Any], positions: Tensor, kernel: str = "auto") -> ReadRow:
    """Run a model over a packed row, its head at ``positions`` alone, if at all.

    Raises:
        UserError: the kernel ``liger`` is asked for and does not know the head.
    """
    if _has_plain_head(model):
        hidden = model.get_decoder()(**arguments).last_hidden_state[0]
        return ReadRow(hidden[positions], hidden)
    if kernel == "liger":
        raise UserError(
            f"training.device.loss_kernel liger does not know the head of {model.config.model_type}: set it to auto"
        )
    kept: list[Tensor] = []
    hook = model.base_model.register_forward_hook(lambda module, inputs, output: kept.append(output[0][0]))
    try:
        if "logits_to_keep" in inspect.signature(type(model).forward).parameters:
            logits = model(**arguments, logits_to_keep=positions).logits.squeeze(0).float()
        else:
            logits = model(**arguments).logits[0, positions].float()
    finally:
        hook.remove()
    return ReadRow(logits, kept[0])


def last_states(model: PreTrainedModel, arguments: Mapping[str, Any]) -> Tensor:
    """The last hidden states of a model, those that its head reads: (batch, time, width)."""
    if _has_plain_head(model):
        states: Tensor = model.get_decoder()(**arguments, use_cache=False).last_hidden_state
        return states
    kept: list[Tensor] = []
    hook = model.base_model.register_forward_hook(lambda module, inputs, output: kept.append(output[0]))
    try:
        model(**arguments, use_cache=False)
    finally:
        hook.remove()
    return kept[0]


def token_losses(model: PreTrainedModel, read: ReadRow, row: PackedRow, kernel: str = "auto") -> TargetLosses:
    """The cross-entropy of each target of a row; ``kernel`` as in :func:`head_loss`."""
    found, targets, weights = read.at_targets, row.target_ids, row.target_weights
    if _has_plain_head(model):
        softcap = getattr(model.config, "final_logit_softcapping", None)
        return TargetLosses(*head_loss(_head(model), found, targets, weights, softcap, kernel))
    losses = cross_entropy(found, targets, reduction="none")
    correct = (found.argmax(dim=-1) == targets).float() if len(targets) else losses.detach()
    return TargetLosses(losses @ weights, losses.detach(), correct)


def report_by_group(losses: TargetLosses, row: PackedRow, num_groups: int) -> GroupReport:
    """The losses of a row by the groups of its targets."""
    correct = losses.correct
    values = (losses.losses, torch.ones_like(correct), correct)
    return GroupReport(*(correct.new_zeros(num_groups).index_add_(0, row.target_groups, value) for value in values))


def _has_plain_head(model: PreTrainedModel) -> bool:
    head: Any = model.get_output_embeddings()
    return model.config.model_type in _PLAIN_HEADS and type(head) is nn.Linear and head.bias is None


def _head(model: PreTrainedModel) -> nn.Linear:
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Linear)
    return head
