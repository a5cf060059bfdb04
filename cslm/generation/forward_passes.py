"""One forward pass after another over rows of prompts, keeping what each pass leaves for the next."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from cslm.generation.growing_cache import growing_cache


class ForwardPasses:
    """Prompts padded on the left, and what was appended to them, read by any causal model of transformers.

    The padding is masked, and is the prompt's first id again, so that a processor that looks for ids in the rows (a
    penalty for repetitions) finds none that the prompt does not hold.

    The cache grows in place where the layers allow it; otherwise it is the model's own. Without one (a model that hands
    none back; states before transformers gave all models one kind of cache) everything is read again.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[NDArray[Any]], room: int) -> None:
        """Lay out the rows.

        Args:
            model: any causal language model.
            prompts: ids ``(num_ids,)`` of each row.
            room: so many ids at most are appended.
        """
        self._model: Any = model
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), longest + room, dtype=torch.long)
        mask = torch.ones_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) : longest] = torch.from_numpy(np.asarray(prompt, dtype=np.int64))
            ids[row, : longest - len(prompt)] = int(prompt[0])
            mask[row, : longest - len(prompt)] = 0
        self._ids, self._mask = ids.to(model.device), mask.to(model.device)
        self._positions = (self._mask.cumsum(dim=1) - 1).masked_fill(self._mask == 0, 0)
        self._known, self._read = longest, 0
        self._takes = inspect.signature(model.forward).parameters.keys()
        self._cache_name = cache_name(model, self._takes)
        self._cache: Any = growing_cache(model)

    @property
    def ids(self) -> torch.Tensor:
        """All ids so far ``(batch, time)``."""
        return self._ids[:, : self._known]

    def next_logits(self) -> torch.Tensor:
        """The logits ``(batch, num_rows)`` in float32 of what follows the last id: one forward pass."""
        given = {
            "input_ids": self._ids[:, self._read : self._known].contiguous(),
            "attention_mask": self._mask[:, : self._known].contiguous(),
            "position_ids": self._positions[:, self._read : self._known].contiguous(),
            "cache_position": torch.arange(self._read, self._known, device=self._ids.device),
            "logits_to_keep": 1,
        }
        given = {name: value for name, value in given.items() if name in self._takes}
        if self._cache is not None and self._cache_name is not None:
            given[self._cache_name] = self._cache
        output = self._model(**given, use_cache=self._cache_name is not None, return_dict=True)
        self._cache = output.get(self._cache_name) if self._cache_name is not None else None
        self._read = self._known if self._cache is not None else 0
        # a copy: a view would keep the logits of every place of the prompt
        last: torch.Tensor = output.logits[:, -1].to(dtype=torch.float32, copy=True)
        return last

    def append(self, ids: torch.Tensor) -> None:
        """One more id ``(batch,)`` for each row."""
        self._ids[:, self._known] = ids
        self._known += 1

    @property
    def rows_can_leave(self) -> bool:
        """Whether :meth:`keep` works: all that is cached are keys and values."""
        layers = getattr(self._cache, "layers", ())
        stateful = getattr(self._model, "_is_stateful", False)
        return not stateful and all(isinstance(layer, DynamicLayer) for layer in layers) and len(layers) > 0

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with the rows of these indices ``(num_kept,)`` alone."""
        self._cache.batch_select_indices(rows)
        self._ids, self._mask, self._positions = self._ids[rows], self._mask[rows], self._positions[rows]


def cache_name(model: PreTrainedModel, takes: Collection[str]) -> str | None:
    """What ``forward`` calls its cache, in and out: ``past_key_values`` in older versions. None: it has none."""
    if "cache" in takes:
        return "cache"
    stateful = getattr(model, "_is_stateful", False)
    return "past_key_values" if "past_key_values" in takes and not stateful else None
