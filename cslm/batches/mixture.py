"""Which source a document slot takes from: shares of tokens, kept exactly in every block of slots.

A weight is a share of the *tokens*. Divided by the mean length of a source's documents it becomes a share of the slots,
and each block of ``BLOCK`` slots holds its quota of every source, in an order drawn for that block. Where weights
change over the training, runs of blocks have quotas of their own, and a table holds how often each source was drawn
before each of them; a short training has smaller blocks, or it would be over before its weights had changed. So slot
``i`` is a pure function of the seed, at a cost that does not depend on ``i``, and so is the share
of the training before it. Where documents become shorter on the way, a table says how many slots lie before each share
of the training.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from cslm.batches.order import mix
from cslm.batches.weights import (
    Cap,
    Shares,
    Weight,
    WeightSchedule,
    check_weight,
    is_never_drawn,
    shares_at,
    stage_starts,
)

BLOCK = 4096
_PHASES = 1024
_FEWEST_BLOCKS = 64  # of a training whose weights change, where that leaves blocks of _SMALLEST or more
_SMALLEST = 256
_SMALLEST_OF_STAGES = 16  # a stage begins where a block does
_GRID = np.linspace(0.0, 1.0, 1025)


class Mixture:
    """Document slots over sources.

    Args:
        weights: share of tokens by source, in any unit, constant or scheduled; a source of weight 0 is left out.
        mean_lengths: mean tokens of a document by source.
        total_tokens: of the training that scheduled weights and progress span.
        cap: what the shares of tokens (in the order of ``names``) become under caps.
        changing_lengths: mean tokens of a document of sources where that changes, at shares of the training that are
            evenly spaced from 0 to 1.

    Raises:
        UserError: a weight that is negative or not a number, or no weight above 0.
    """

    def __init__(
        self,
        weights: Mapping[str, Weight],
        mean_lengths: Mapping[str, float],
        seed: int,
        total_tokens: float = 1.0,
        cap: Cap | None = None,
        changing_lengths: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        for name, weight in weights.items():
            check_weight(name, weight)
        self.names = [name for name, weight in weights.items() if not is_never_drawn(weight)]
        self._weights = [weights[name] for name in self.names]
        self.stage_starts = stage_starts(self._weights)
        """where the stages of the training begin, as shares of it, from 0 on; one where no weight takes a step"""
        self._lengths = np.array([mean_lengths[name] for name in self.names], dtype=np.float64)
        curves = changing_lengths or {}
        self._curves = {place: curves[name] for place, name in enumerate(self.names) if name in curves}
        self._cap = cap
        self._seed = seed
        self._block = lru_cache(maxsize=16)(self._draw_block)  # sources that take turns are at places of their own
        self._mask = lru_cache(lambda chosen: np.array([name in chosen for name in self.names]))
        changing = bool(self._curves) or any(isinstance(weight, WeightSchedule) for weight in self._weights)
        self._block_size = self._size_for(total_tokens) if changing else BLOCK
        self._first_block, middles = self._phases(total_tokens) if changing else ([0], [1.0])
        self._quotas = np.array([self.quotas_at(middle) for middle in middles])
        phase_lengths = np.array([self._lengths_at(middle) for middle in middles])
        self._stages = [bisect_right(self.stage_starts, middle) - 1 for middle in middles]
        lengths = np.diff([*self._first_block, self._first_block[-1]])
        ends = np.cumsum(self._quotas * lengths[:, None], axis=0)
        self._total_tokens = total_tokens
        self._block_tokens = (self._quotas * phase_lengths).sum(axis=1)
        self._tokens_before = np.concatenate(([0.0], np.cumsum(self._block_tokens * lengths)))
        self._draws_before = np.concatenate((np.zeros((1, len(self.names)), dtype=np.int64), ends[:-1]))

    def shares_at(self, progress: float) -> Shares:
        """Shares of the tokens at ``progress`` of the training, 0 to 1, in the order of ``names``.

        Raises:
            UserError: as :func:`~cslm.batches.weights.shares_at`.
        """
        return shares_at(self._weights, progress, self._cap)

    def quotas_at(self, progress: float) -> npt.NDArray[np.int64]:
        """Documents of each source in a block, in the order of ``names``."""
        slots = self.shares_at(progress) / self._lengths_at(progress)
        return _quotas(slots / slots.sum(), self._block_size)

    def draw(self, slot: int) -> tuple[str, int]:
        """The source of a slot, and which of the source's draws it is, counted from 0 over the whole training."""
        block, place = divmod(slot, self._block_size)
        phase = self._phase(block)
        sources, ranks = self._block(block, phase)
        source = int(sources[place])
        before = int(self._draws_before[phase, source])
        before += (block - self._first_block[phase]) * int(self._quotas[phase, source])
        return self.names[source], before + int(ranks[place])

    def num_draws(self, name: str) -> float:
        """How many documents of a source the whole training takes, reckoned from mean lengths."""
        return float(self._slots_before()[-1, self.names.index(name)])

    def progress_at(self, slot: int) -> float:
        """The share of the training before a slot, from 0 to 1, where it stays: tokens, reckoned from mean lengths.

        A training ends a little below 1, for its steps are not full to the last token.
        """
        if self._curves:
            return float(np.interp(slot, self._table, _GRID))
        block, place = divmod(slot, self._block_size)
        phase = self._phase(block)
        blocks = block - self._first_block[phase] + place / self._block_size
        tokens = float(self._tokens_before[phase]) + blocks * float(self._block_tokens[phase])
        return min(1.0, tokens / self._total_tokens)

    @cached_property
    def _table(self) -> npt.NDArray[np.float64]:
        return self._slots_before().sum(axis=1)

    def _slots_before(self) -> npt.NDArray[np.float64]:
        """Slots of each source before each share of the training in the grid, ``(shares, sources)``."""
        middles = (_GRID[:-1] + _GRID[1:]) / 2
        per_token = [self.shares_at(place) / self._lengths_at(place) for place in middles.tolist()]
        sums = np.cumsum(np.diff(_GRID)[:, None] * np.array(per_token), axis=0) * self._total_tokens
        return np.concatenate((np.zeros((1, len(self.names))), sums))

    def _lengths_at(self, progress: float) -> npt.NDArray[np.float64]:
        """Mean tokens of a document of each source at a share of the training, ``(sources,)``."""
        lengths = self._lengths.copy()
        for place, curve in self._curves.items():
            lengths[place] = np.interp(progress, np.linspace(0, 1, len(curve)), curve)
        return lengths

    def stage_at(self, slot: int) -> int:
        """The stage of the training, from 0 on, whose weights a slot was dealt by."""
        return self._stages[self._phase(slot // self._block_size)]

    def next_slot(self, slot: int, names: Collection[str]) -> int | None:
        """The first slot from ``slot`` on that takes from one of these sources; None where no more will.

        What lies between is not gone through where the sources have no weight.
        """
        of_names = self._mask(tuple(names))
        block, place = divmod(slot, self._block_size)
        while True:
            phase = self._phase(block)
            if self._quotas[phase, of_names].any():
                found = np.flatnonzero(of_names[self._block(block, phase)[0][place:]])
                if len(found):
                    return block * self._block_size + place + int(found[0])
                block, place = block + 1, 0
                continue
            later = np.flatnonzero(self._quotas[phase + 1 :, of_names].any(axis=1))
            if not len(later):
                return None
            block, place = self._first_block[phase + 1 + int(later[0])], 0

    def even_place(self, slot: int, names: Collection[str]) -> float:
        """Where a slot of these sources would be, were the slots of every block dealt evenly."""
        block, place = divmod(slot, self._block_size)
        own = self._mask(tuple(names))[self._block(block, self._phase(block))[0]]
        return self._block_size * (block + int(own[:place].sum()) / int(own.sum()))

    def stretch_end(self, slot: int, names: Collection[str]) -> int | None:
        """The first slot after ``slot`` from which on these sources have no weight for a while; None: there is none."""
        of_names = self._mask(tuple(names))
        phase = self._phase(slot // self._block_size)
        later = np.flatnonzero(~self._quotas[phase + 1 :, of_names].any(axis=1))
        return self._first_block[phase + 1 + int(later[0])] * self._block_size if len(later) else None

    def mean_tokens_at(self, slot: int) -> float:
        """Tokens of a slot thereabouts, reckoned from mean lengths."""
        return float(self._block_tokens[self._phase(slot // self._block_size)]) / self._block_size

    def _phase(self, block: int) -> int:
        return bisect_right(self._first_block, block) - 1

    def _size_for(self, total_tokens: float) -> int:
        """Slots of a block of a training of so many tokens."""
        num_slots = total_tokens * float(
            np.mean([(self.shares_at(it) / self._lengths_at(it)).sum() for it in (0, 0.5, 1)])
        )
        size, smallest = BLOCK, _SMALLEST if len(self.stage_starts) == 1 else _SMALLEST_OF_STAGES
        while size > max(smallest, len(self.names)) and num_slots < _FEWEST_BLOCKS * size:
            size //= 2
        return size

    def _phases(self, total_tokens: float) -> tuple[list[int], list[float]]:
        """The first block of every phase, and the place whose weights hold in it; the last goes on for ever."""
        first_blocks, middles, tokens, block = [], [], 0.0, 0
        while tokens < total_tokens:
            begun = tokens / total_tokens
            per_block = float(self.quotas_at(begun) @ self._lengths_at(begun))
            length = max(1, round(total_tokens / _PHASES / per_block))
            middle = min(1.0, (tokens + length * per_block / 2) / total_tokens)
            first_blocks.append(block)
            middles.append(middle)
            block += length
            tokens += length * float(self.quotas_at(middle) @ self._lengths_at(middle))
        return [*first_blocks, block], [*middles, 1.0]

    def _draw_block(self, block: int, phase: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The source of every slot of a block, and how many slots of that source come before it in the block."""
        generator = np.random.default_rng(mix(self._seed, block))
        sources = generator.permutation(np.repeat(np.arange(len(self.names)), self._quotas[phase]))
        ranks = np.empty(self._block_size, dtype=np.int64)
        for source, quota in enumerate(self._quotas[phase]):
            ranks[sources == source] = np.arange(quota)
        return sources, ranks


def _quotas(shares: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.int64]:
    """Whole numbers that sum to ``total`` by the largest remainders; only a share of 0 gets none."""
    assert len(shares) <= total, "more sources than slots in a block"
    exact = shares * total
    quotas = np.maximum(np.floor(exact).astype(np.int64), shares > 0)
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    for source in order[: max(0, total - int(quotas.sum()))]:
        quotas[source] += 1
    while quotas.sum() > total:
        quotas[np.argmax(quotas)] -= 1
    return quotas
