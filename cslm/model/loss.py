"""The training loss of a causal language model: summed cross-entropy over the trained tokens, also by group."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cslm.model.document_attention import DOCUMENT_ATTENTION, DocumentGroups


class LossOutput(NamedTuple):
    """What a trained module returns for one micro-batch. The loop divides ``loss_sum`` by the count of all ranks."""

    loss_sum: Tensor
    """() the summed loss, with gradient; 0 where nothing is trained, and still part of the graph"""
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

    Logits exist only at the positions that predict a trained token: everything else never reaches the head. The head
    is reached through the module (``logits_to_keep``), so soft caps, ties and ZeRO-3 work as the backbone has them.
    """

    def __init__(self, model: PreTrainedModel, num_groups: int) -> None:
        super().__init__()
        self.model = model
        self.num_groups = num_groups

    def forward(self, micro_batch: dict[str, Tensor]) -> LossOutput:
        """The loss of one packed row.

        Args:
            micro_batch: ``input_ids``, ``position_ids`` (1, tokens); ``cu_seqlens`` (documents + 1,);
                ``target_positions``, ``target_ids``, ``label_group`` (targets,): the position that predicts, the id
                it should predict, the group that the loss is reported under.
        """
        arguments = {}
        ids = micro_batch["input_ids"]
        if self.model.config._attn_implementation == DOCUMENT_ATTENTION:
            arguments["documents"] = DocumentGroups.from_boundaries(micro_batch["cu_seqlens"].tolist(), ids.device)
        logits = self.model(
            input_ids=ids,
            position_ids=micro_batch["position_ids"],
            use_cache=False,
            logits_to_keep=micro_batch["target_positions"],
            **arguments,
        ).logits.squeeze(0)
        targets = micro_batch["target_ids"]
        losses = cross_entropy(logits.float(), targets, reduction="none")
        return LossOutput(losses.sum(), len(targets), *self._by_group(losses, logits, targets, micro_batch))

    @torch.no_grad()
    def _by_group(
        self, losses: Tensor, logits: Tensor, targets: Tensor, micro_batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        groups = micro_batch["label_group"]
        correct = (logits.argmax(dim=-1) == targets).float()
        values = (losses, torch.ones_like(losses), correct)
        sums = [losses.new_zeros(self.num_groups).index_add_(0, groups, value) for value in values]
        return sums[0], sums[1], sums[2]
