"""How likely a model finds sequences of ids: the negative log-likelihood of each id, whatever shares its batch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cslm.encoders.audio_batches import AudioBatches
from cslm.files.progress import progress_bar

_MOST_LOGITS = 1 << 28
"""logits of a batch at most (1 GiB in float32), unless one sequence alone has more"""


@torch.inference_mode()
def token_nlls(
    model: PreTrainedModel,
    sequences: Sequence[NDArray[Any]],
    batch_tokens: int,
    allowed: torch.Tensor | None = None,
    description: str | None = None,
) -> list[NDArray[np.float32]]:
    """The negative log-likelihood, in nats, of every id but the first given all before it: ``(num_ids - 1,)`` each.

    Sequences of nearly one length share a batch, padded on the right, where a causal model cannot look. Softmax and
    logarithm are computed in float32 over all rows of the head. Equal sequences are read once, so that they get equal
    values whatever shared their batches.

    Args:
        model: any causal language model, in evaluation mode.
        sequences: ids ``(num_ids,)``, at least one each.
        batch_tokens: ids of a batch at most, padding included; fewer where the head has very many rows.
        allowed: bool ``(num_rows,)``: the other rows of the head have no probability (default: all have).
        description: shows a progress bar of this name.
    """
    named = {ids.astype(np.int64).tobytes(): ids for ids in sequences}
    distinct = list(named.values())
    batches = AudioBatches(most_tokens(model, batch_tokens))
    groups = list(batches.groups([len(ids) for ids in distinct], 1.0))
    found: dict[bytes, NDArray[np.float32]] = {}
    for group in progress_bar(groups, len(groups), description) if description else groups:
        rows = [distinct[index] for index in group]
        for ids, losses in zip(rows, _batch_nlls(model, rows, allowed), strict=True):
            found[ids.astype(np.int64).tobytes()] = losses
    return [found[ids.astype(np.int64).tobytes()] for ids in sequences]


def padded_batch(model: PreTrainedModel, sequences: Sequence[NDArray[Any]]) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``attention_mask`` ``(batch, time)`` of sequences ``(num_ids,)``, padded on the right."""
    longest = max(len(ids) for ids in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.from_numpy(np.asarray(sequence, dtype=np.int64))
        mask[row, : len(sequence)] = 1
    given = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
    takes = inspect.signature(model.forward).parameters
    return {name: value for name, value in given.items() if name in takes}


def id_losses(logits: torch.Tensor, ids: torch.Tensor, allowed: torch.Tensor | None) -> NDArray[np.float32]:
    """The cross-entropy of ``ids`` (time,) under ``logits`` (time, num_rows), in float32; ``allowed`` as above."""
    scores = logits.float()
    if allowed is not None:
        scores = scores.masked_fill(~allowed.to(scores.device), -torch.inf)
    losses: NDArray[np.float32] = cross_entropy(scores, ids, reduction="none").cpu().numpy()
    return losses


def most_tokens(model: PreTrainedModel, batch_tokens: int) -> int:
    """``batch_tokens``, or fewer where the head has so many rows that their logits would fill the memory."""
    return min(batch_tokens, _MOST_LOGITS // int(model.get_output_embeddings().weight.shape[0]))


def _batch_nlls(
    model: PreTrainedModel, sequences: Sequence[NDArray[Any]], allowed: torch.Tensor | None
) -> list[NDArray[np.float32]]:
    given = padded_batch(model, sequences)
    logits = model(**given, use_cache=False, return_dict=True).logits
    ids = given["input_ids"]
    return [
        id_losses(logits[row, : len(sequence) - 1], ids[row, 1 : len(sequence)], allowed)
        for row, sequence in enumerate(sequences)
    ]
