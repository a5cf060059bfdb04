"""The training loss of a causal language model: summed cross-entropy over the trained tokens, also by group."""

from __future__ import annotations

import inspect
from typing import Any

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
        self._chooses_positions = "logits_to_keep" in inspect.signature(type(model).forward).parameters

    def forward(self, row: PackedRow) -> Objective:
        """The cross-entropy of one packed row: one term, the mean over its targets."""
        arguments: dict[str, Any] = {}
        if self.model.config._attn_implementation == DOCUMENT_ATTENTION:
            arguments["documents"] = PackedDocuments(row.boundaries, row.input_ids.device)
        arguments |= {"input_ids": row.input_ids, "position_ids": row.position_ids, "use_cache": False}
        loss_sum, losses, correct = self._losses(arguments, row.target_positions, row.target_ids, row.target_weights)
        values = (losses, torch.ones_like(correct), correct)
        by_group = [correct.new_zeros(self.num_groups).index_add_(0, row.target_groups, value) for value in values]
        return Objective({"cross_entropy": Term(loss_sum, "targets")}, GroupReport(*by_group))

    def _losses(
        self, arguments: dict[str, Any], positions: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The weighted sum with gradient, each loss, and whether each prediction is right."""
        config, head = self.model.config, self.model.get_output_embeddings()
        if config.model_type in _PLAIN_HEADS and type(head) is nn.Linear and head.bias is None:
            hidden = self.model.get_decoder()(**arguments).last_hidden_state[0, positions]
            softcap = getattr(config, "final_logit_softcapping", None)
            return head_loss(head, hidden, targets, weights, softcap, self.loss_kernel)
        if self.loss_kernel == "liger":
            raise UserError(
                f"training.device.loss_kernel liger does not know the head of {config.model_type}: set it to auto"
            )
        if self._chooses_positions:
            logits = self.model(**arguments, logits_to_keep=positions).logits.squeeze(0).float()
        else:
            logits = self.model(**arguments).logits[0, positions].float()
        losses = cross_entropy(logits, targets, reduction="none")
        correct = (logits.argmax(dim=-1) == targets).float() if len(targets) else losses.detach()
        return losses @ weights, losses.detach(), correct
