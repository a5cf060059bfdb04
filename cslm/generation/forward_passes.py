"""One forward pass after another over rows of prompts, keeping what each pass leaves for the next."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from cslm.generation.growing_cache import GrowingLayer, growing_cache

_ROOM = 256  # ids for which there is room before the rows are copied


class ForwardPasses:
    """Prompts padded on the left, and what was appended to them, read by any causal model of transformers.

    The padding is masked, and is the prompt's first id again, so that a processor that looks for ids in the rows (a
    penalty for repetitions) finds none that the prompt does not hold.

    The cache grows in place where the layers allow it; otherwise it is the model's own. Without one (a model that hands
    none back; states before transformers gave all models one kind of cache) everything is read again.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[NDArray[Any]]) -> None:
        """Lay out the rows.

        Args:
            model: any causal language model.
            prompts: ids ``(num_ids,)`` of each row.
        """
        self._model: Any = model
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), longest + _ROOM, dtype=torch.long)
        mask = torch.ones_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) : longest] = torch.from_numpy(np.asarray(prompt, dtype=np.int64))
            ids[row, : longest - len(prompt)] = int(prompt[0])
            mask[row, : longest - len(prompt)] = 0
        self._ids, self._mask = ids.to(model.device), mask.to(model.device)
        self._known, self._read = longest, 0
        self._takes = inspect.signature(model.forward).parameters.keys()
        self._cache_name = cache_name(model, self._takes)
        self._cache: Any = growing_cache(model)
        self._guess: _Guess | None = None

    @property
    def ids(self) -> torch.Tensor:
        """All ids so far ``(batch, time)``."""
        return self._ids[:, : self._known]

    def next_logits(self) -> torch.Tensor:
        """The logits ``(batch, num_rows)`` in float32 of what follows the last id: one forward pass.

        None is needed where the ids since :meth:`guess` are those that were guessed.
        """
        assert self._read < self._known, "nothing is left to be read"
        if self._guess is not None and self._guess.logits is None:
            return self._check_guess(self._guess)
        if self._guess is not None:
            logits = self._guess.logits_behind(self._ids[0, self._guess.first : self._known].tolist())
            if logits is not None:
                self._read = self._known
                return logits
            self._forget_guess()
        # a copy: a view would keep the logits of every place of the prompt
        return self._pass(1)[:, -1].to(dtype=torch.float32, copy=True)

    def _check_guess(self, guess: _Guess) -> torch.Tensor:
        """One pass over what is known and what is guessed behind it; the logits behind what is known."""
        known = self._known
        for token_id in guess.ids:
            self.append(torch.tensor([token_id]))
        guess.first, guess.logits = known, self._pass(len(guess.ids) + 1)[0].float()[-len(guess.ids) - 1 :]
        self._known = self._read = known
        return guess.logits[:1]

    def _pass(self, num_logits: int) -> torch.Tensor:
        """Logits ``(batch, time, num_rows)`` of at least the last places, reading all that is known."""
        mask = self._mask[:, : self._known]
        positions = (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, 0)
        given = {
            "input_ids": self._ids[:, self._read : self._known].contiguous(),
            "attention_mask": mask.contiguous(),
            "position_ids": positions[:, self._read :].contiguous(),
            "cache_position": torch.arange(self._read, self._known, device=self._ids.device),
            "logits_to_keep": num_logits,
        }
        given = {name: value for name, value in given.items() if name in self._takes}
        if self._cache is not None and self._cache_name is not None:
            given[self._cache_name] = self._cache
        output = self._model(**given, use_cache=self._cache_name is not None, return_dict=True)
        self._cache = output.get(self._cache_name) if self._cache_name is not None else None
        self._read = self._known if self._cache is not None else 0
        logits: torch.Tensor = output.logits
        return logits

    @property
    def can_guess(self) -> bool:
        """Whether :meth:`guess` and :meth:`rewind` work: of one row, all that is cached can be cut anywhere."""
        layers = getattr(self._cache, "layers", ())
        return len(self._ids) == 1 and len(layers) > 0 and all(type(layer) is GrowingLayer for layer in layers)

    def guess(self, ids: Sequence[int]) -> None:
        """Have the next pass read these too, behind all that is known: as many as come true cost no pass of their own.

        Ids that are appended are told from it, so that a wrong guess changes nothing but the time.
        """
        assert self.can_guess, "this model's cache cannot be cut"
        self._forget_guess()
        if ids:
            self._guess = _Guess(list(ids))

    def rewind(self, num_ids: int) -> None:
        """Go back to where so many ids ``<= read`` were known and read."""
        self._forget_guess()
        self._known = self._read = num_ids
        self._cut(num_ids)

    def _forget_guess(self) -> None:
        if self._guess is not None and self._guess.logits is not None:
            self._read = min(self._read, self._known)
            self._cut(self._read)
        self._guess = None

    def _cut(self, num_ids: int) -> None:
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[..., :num_ids, :], layer.values[..., :num_ids, :]

    def append(self, ids: torch.Tensor) -> None:
        """One more id ``(batch,)`` for each row."""
        if self._known == self._ids.shape[1]:
            self._ids = nn.functional.pad(self._ids, (0, _ROOM))
            self._mask = nn.functional.pad(self._mask, (0, _ROOM), value=1)
        self._ids[:, self._known] = ids
        self._known += 1

    def extend(self, ids: NDArray[Any]) -> None:
        """More ids ``(num_ids,)`` of the one row."""
        for token_id in ids.tolist():
            self.append(torch.tensor([token_id]))

    @torch.inference_mode()
    def read_ahead(self) -> None:
        """Read what is known, before all of the prompt is; one id at least must still come."""
        if self._read < self._known:
            self.next_logits()

    @property
    def rows_can_leave(self) -> bool:
        """Whether :meth:`keep` works: all that is cached are keys and values."""
        layers = getattr(self._cache, "layers", ())
        stateful = getattr(self._model, "_is_stateful", False)
        return not stateful and all(isinstance(layer, DynamicLayer) for layer in layers) and len(layers) > 0

    @property
    def rows_can_join(self) -> bool:
        """Whether :meth:`join` works: the keys and values of all places are cached, not those of a window."""
        plain = all(type(layer) in (DynamicLayer, GrowingLayer) for layer in getattr(self._cache, "layers", ()))
        return plain and self.rows_can_leave

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with the rows of these indices ``(num_kept,)`` alone, without the padding that they share."""
        self._forget_guess()
        self._cache.batch_select_indices(rows)
        self._ids, self._mask = self._ids[rows], self._mask[rows]
        shared = int((self._mask.cumsum(dim=1) == 0).sum(dim=1).min())
        if shared and self.rows_can_join:
            self._ids, self._mask = self._ids[:, shared:], self._mask[:, shared:]
            self._known, self._read = self._known - shared, self._read - shared
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[..., shared:, :], layer.values[..., shared:, :]

    def join(self, others: ForwardPasses) -> None:
        """Go on with the rows of others behind one's own, in one batch; each of both has one id that is not read."""
        self._forget_guess()
        others._forget_guess()
        assert self._known - self._read == others._known - others._read == 1, "rows that join are at the same point"
        longest = max(self._known, others._known)
        more = [longest - self._known, longest - others._known]
        for name in ("_ids", "_mask"):
            parts = [getattr(one, name)[:, : one._known] for one in (self, others)]
            parts = [nn.functional.pad(part, (left, 0)) for part, left in zip(parts, more, strict=True)]
            if name == "_ids":  # padding is the first id again
                for part, left, one in zip(parts, more, (self, others), strict=True):
                    part[:, :left] = one._ids[:, :1]
            setattr(self, name, torch.cat(parts))
        self._known, self._read = longest, longest - 1
        for layer, other in zip(self._cache.layers, others._cache.layers, strict=True):
            for name in ("keys", "values"):
                pair = zip((getattr(layer, name), getattr(other, name)), more, strict=True)
                joined = torch.cat([nn.functional.pad(part, (0, 0, left, 0)) for part, left in pair])
                setattr(layer, name, joined)


class _Guess:
    """Ids that may follow, and once they were read the logits behind each place."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self.first = 0
        """how many ids were known before them"""
        self.logits: torch.Tensor | None = None
        """(num_ids + 1, num_rows) in float32, the first of them behind what was known"""

    def logits_behind(self, came: list[int]) -> torch.Tensor | None:
        """The logits ``(1, num_rows)`` behind the ids that came; None where they are not those that were guessed."""
        assert self.logits is not None
        return self.logits[len(came), None] if came == self.ids[: len(came)] else None


def cache_name(model: PreTrainedModel, takes: Collection[str]) -> str | None:
    """What ``forward`` calls its cache, in and out: ``past_key_values`` in older versions. None: it has none."""
    if "cache" in takes:
        return "cache"
    stateful = getattr(model, "_is_stateful", False)
    return "past_key_values" if "past_key_values" in takes and not stateful else None
