"""The training loss of a causal language model: summed cross-entropy over the trained tokens, also by group."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from cslm.model.document_attention import DOCUMENT_ATTENTION, DocumentGroups

CHUNK_LOGITS = 1 << 26
"""Logits that exist at a time: a quarter of a GiB in float32, and as much again for the exponentials."""
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

    Logits exist only at the positions that predict a trained token: everything else never reaches the head. Where
    they would still be many, they exist a chunk at a time, and are computed again in the backward pass: the logits of
    8,192 tokens over 132,356 ids are 4 GiB, and cross-entropy makes more of that size.
    """

    def __init__(self, model: PreTrainedModel, num_groups: int) -> None:
        super().__init__()
        self.model = model
        self.num_groups = num_groups
        self.weights_are_sharded = False
        """under ZeRO 3, where reading a weight outside its module would disturb DeepSpeed; the engine sets it"""

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
            arguments["documents"] = DocumentGroups.from_boundaries(micro_batch["cu_seqlens"].tolist(), ids.device)
        arguments |= {"input_ids": ids, "position_ids": micro_batch["position_ids"], "use_cache": False}
        positions, targets = micro_batch["target_positions"], micro_batch["target_ids"]
        chunk = max(1, CHUNK_LOGITS // self.model.config.vocab_size)
        num_chunks = self._num_chunks(-(-len(targets) // chunk), ids.device)
        if num_chunks > 1 and self.model.config.model_type in _PLAIN_HEADS:
            hidden = self.model.get_decoder()(**arguments).last_hidden_state[:, positions]
            places = [slice(number * chunk, (number + 1) * chunk) for number in range(num_chunks)]
            parts = [
                checkpoint(self._chunk_losses, hidden[:, place], targets[place], use_reentrant=False)
                for place in places
            ]
            losses, correct = (torch.cat(part) for part in zip(*parts, strict=True))
        else:
            logits = self.model(**arguments, logits_to_keep=positions).logits.squeeze(0)
            losses, correct = _TokenLoss.apply(logits.float(), targets)
        values = (losses.detach(), torch.ones_like(correct), correct)
        groups = micro_batch["label_group"]
        by_group = [correct.new_zeros(self.num_groups).index_add_(0, groups, value) for value in values]
        weights = micro_batch.get("target_weights")
        return LossOutput(losses.sum() if weights is None else losses @ weights, len(targets), *by_group)

    def _num_chunks(self, own: int, device: torch.device) -> int:
        """How often the head is called. Under ZeRO 3 its weight is gathered each time, by all processes together."""
        if not self.weights_are_sharded or torch.distributed.get_world_size() == 1:
            return own
        most = torch.tensor(own, device=device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return int(most.item())

    def _chunk_losses(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (targets,) of the hidden states (1, targets, width), and whether each prediction is right."""
        logits = self.model.get_output_embeddings()(hidden).squeeze(0).float()
        softcap = getattr(self.model.config, "final_logit_softcapping", None)
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        losses, correct = _TokenLoss.apply(logits, targets)
        return losses, correct


class _TokenLoss(torch.autograd.Function):
    """Cross-entropy of each row of float32 logits (targets, ids), and whether its target is the most probable id.

    One buffer of the size of the logits holds the exponentials and becomes the gradient: plain cross-entropy makes
    three, and an argmax passes over them once more. So backward runs once.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if logits.numel() == 0:
            ctx.save_for_backward(logits, targets, logits.new_zeros(0, 1))
            nothing = logits.new_zeros(0)
            ctx.mark_non_differentiable(nothing)
            return logits.new_zeros(0), nothing
        highest = logits.amax(dim=-1, keepdim=True)
        wanted = logits.gather(1, targets[:, None])
        exponentials = torch.sub(logits, highest).exp_()
        total = exponentials.sum(dim=-1, keepdim=True)
        ctx.save_for_backward(exponentials, targets, total)
        correct = (wanted >= highest).float().squeeze(1)
        ctx.mark_non_differentiable(correct)
        return (total.log() + highest - wanted).squeeze(1), correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        exponentials, targets, total = ctx.saved_tensors
        gradient = gradients[0][:, None]
        exponentials.mul_(gradient / total)
        return exponentials.scatter_add_(1, targets[:, None], -gradient), None
