"""Likelihoods of sequences that begin alike: a beginning is read once, and its keys and values go on with every ending.

A story of a test has many endings. Read whole, most of what the model does is the same beginning again.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from cslm.encoders.audio_batches import AudioBatches
from cslm.evaluation.likelihood import id_losses, most_tokens, padded_batch, token_nlls
from cslm.files.progress import progress_bar
from cslm.generation.forward_passes import cache_name

Losses = NDArray[np.float32]


@torch.inference_mode()
def shared_nlls(
    model: PreTrainedModel,
    sequences: Sequence[NDArray[Any]],
    starts: Sequence[int],
    batch_tokens: int,
    allowed: torch.Tensor | None = None,
    description: str = "score",
) -> list[Losses]:
    """What :func:`~cslm.evaluation.likelihood.token_nlls` gives, up to rounding, for sequences that share beginnings.

    Models that keep anything but keys and values of all places read every sequence whole.

    Args:
        starts: how many ids of each sequence are a beginning that others may share; 0 where none is.
        batch_tokens: ids of a batch at most, those of the beginning counted for each of its endings.
    """
    named = {_name(ids): (ids, start) for ids, start in zip(sequences, starts, strict=True)}
    families: dict[bytes, list[NDArray[Any]]] = {}
    for ids, start in named.values():
        families.setdefault(_name(ids[:start]), []).append(ids[start:])
    heads = {_name(ids[:start]): ids[:start] for ids, start in named.values()}
    if not _keeps_keys_and_values(model):
        heads = {}
    shared = {name: head for name, head in heads.items() if len(head) and len(families[name]) > 1}
    found: dict[bytes, Losses] = {}
    for name, head in progress_bar(shared.items(), len(shared), f"{description}: beginnings") if shared else ():
        tails = families[name]
        for tail, losses in zip(tails, _endings(model, head, tails, batch_tokens, allowed), strict=True):
            found[_name(np.concatenate([head, tail]))] = losses
    alone = [ids for name, (ids, _) in named.items() if name not in found]
    for ids, losses in zip(alone, token_nlls(model, alone, batch_tokens, allowed, description), strict=True):
        found[_name(ids)] = losses
    return [found[_name(ids)] for ids in sequences]


def _endings(
    model: PreTrainedModel,
    head: NDArray[Any],
    tails: Sequence[NDArray[Any]],
    batch_tokens: int,
    allowed: torch.Tensor | None,
) -> list[Losses]:
    """The losses of ``head`` (but its first id) and each of ``tails`` behind it, which have an id at least."""
    ids = torch.from_numpy(head.astype(np.int64))[None].to(model.device)
    read = model(input_ids=ids, use_cache=True, return_dict=True)
    name = _cache_name(model)
    assert name is not None
    of_head = id_losses(read.logits[0, :-1], ids[0, 1:], allowed)
    found: list[Losses] = [of_head] * len(tails)
    for group in AudioBatches(most_tokens(model, batch_tokens)).groups([len(head) + len(tail) for tail in tails], 1.0):
        given = padded_batch(model, [tails[index] for index in group])
        cache = copy.deepcopy(read[name])
        cache.batch_repeat_interleave(len(group))
        seen = torch.ones(len(group), len(head), dtype=torch.long, device=model.device)
        mask = torch.cat([seen, given["attention_mask"]], dim=1)
        logits = model(
            input_ids=given["input_ids"], attention_mask=mask, past_key_values=cache, return_dict=True
        ).logits
        for row, index in enumerate(group):
            length = len(tails[index])
            scores = torch.cat([read.logits[0, -1:], logits[row, : length - 1]])
            found[index] = np.concatenate([of_head, id_losses(scores, given["input_ids"][row, :length], allowed)])
    return found


def _keeps_keys_and_values(model: PreTrainedModel) -> bool:
    """Whether all that the model keeps of what it has read are keys and values of every place."""
    name = _cache_name(model)
    if name is None:
        return False
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    cache = model(input_ids=ids, use_cache=True, return_dict=True).get(name)
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)


def _cache_name(model: PreTrainedModel) -> str | None:
    return cache_name(model, inspect.signature(model.forward).parameters.keys())


def _name(ids: NDArray[Any]) -> bytes:
    return ids.astype(np.int64).tobytes()
