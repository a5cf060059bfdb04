"""The training loss of a causal language model: summed cross-entropy over the trained tokens, also by group."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cslm.errors import UserError
from cslm.model.document_attention import DOCUMENT_ATTENTION, PackedDocuments
from cslm.model.head_loss import head_loss

# Backbones whose logits are the head's, under a cap where the configuration has one; others keep theirs whole.
_PLAIN_HEADS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "olmo2", "phi3")


class LossOutput(NamedTuple):
    """What a trained module returns for one micro-batch. The loop divides ``loss_sum`` by the count of all ranks."""

    loss_sum: Tensor
    """() the summed loss, weighted, with gradient; 0 where nothing is trained, and still part of the graph"""
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    """what the sum is over: trained tokens, or frames for a decoder"""
    group_sums: Tensor
    """(groups,) the loss summed by group, without gradient"""
    group_counts: Tensor
    """(groups,) float32: trained tokens by group"""
    group_correct: Tensor
    """(groups,) float32: trained tokens by group whose most probable prediction is right"""


class LanguageModelLoss(nn.Module):
    """A causal language model of transformers with its loss over packed rows.

    Logits exist only at the positions that predict a trained token: everything else never reaches the head. And they
    exist a chunk at a time (:mod:`cslm.model.head_loss`): the logits of 8,192 tokens over 132,356 ids are 4 GiB, and
    cross-entropy makes more of that size.
    """

    def __init__(self, model: PreTrainedModel, num_groups: int, loss_kernel: str = "auto") -> None:
        """The loss of ``model``, told in ``num_groups`` groups; ``loss_kernel`` as in :func:`head_loss`."""
        super().__init__()
        self.model = model
        self.num_groups = num_groups
        self.loss_kernel = loss_kernel

    def forward(self, micro_batch: dict[str, Tensor]) -> LossOutput:
        """The loss of one packed row.

        Args:
            micro_batch: ``input_ids``, ``position_ids`` (1, tokens); ``cu_seqlens`` (documents + 1,);
                ``target_positions``, ``target_ids``, ``label_group`` (targets,): the position that predicts, the id
                it should predict, the group that the loss is reported under; ``target_weights`` float32 (targets,)
                where not every target counts once.
        """
        arguments: dict[str, Any] = {}
        ids = micro_batch["input_ids"]
        if self.model.config._attn_implementation == DOCUMENT_ATTENTION:
            arguments["documents"] = PackedDocuments(micro_batch["cu_seqlens"].tolist(), ids.device)
        arguments |= {"input_ids": ids, "position_ids": micro_batch["position_ids"], "use_cache": False}
        positions, targets = micro_batch["target_positions"], micro_batch["target_ids"]
        weights = micro_batch.get("target_weights")
        if weights is None:
            weights = torch.ones_like(targets, dtype=torch.float32)
        loss_sum, losses, correct = self._losses(arguments, positions, targets, weights)
        values = (losses, torch.ones_like(correct), correct)
        groups = micro_batch["label_group"]
        by_group = [correct.new_zeros(self.num_groups).index_add_(0, groups, value) for value in values]
        return LossOutput(loss_sum, len(targets), *by_group)

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
            raise UserError(f"training.loss_kernel liger does not know the head of {config.model_type}: set it to auto")
        logits = self.model(**arguments, logits_to_keep=positions).logits.squeeze(0).float()
        losses = cross_entropy(logits, targets, reduction="none")
        correct = (logits.argmax(dim=-1) == targets).float() if len(targets) else losses.detach()
        return losses @ weights, losses.detach(), correct
