"""Which source a document slot takes from: shares of tokens, kept exactly in every block of slots.

A weight is a share of the *tokens*. Divided by the mean length of a source's documents it becomes a share of the slots,
and each block of ``BLOCK`` slots holds its quota of every source, in an order drawn for that block. So slot ``i`` is a
pure function of the seed, at a cost that does not depend on ``i``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cslm.batches.order import mix
from cslm.errors import UserError

BLOCK = 4096


class Mixture:
    """Document slots over sources.

    Args:
        weights: share of tokens by source, in any unit; a source of weight 0 is left out.
        mean_lengths: mean tokens of a document by source.

    Raises:
        UserError: a weight that is negative or not a number, or no weight above 0.
    """

    def __init__(self, weights: Mapping[str, float], mean_lengths: Mapping[str, float], seed: int) -> None:
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise UserError(f"the weight of the source {name} is {weight}: give a number from 0 on")
        self.names = [name for name, weight in weights.items() if weight > 0]
        if not self.names:
            raise UserError("no source has a weight above 0: there is nothing to train on")
        shares = np.array([weights[name] / mean_lengths[name] for name in self.names], dtype=np.float64)
        self.quotas = _quotas(shares / shares.sum(), BLOCK)
        self._seed = seed
        self._block = lru_cache(maxsize=4)(self._draw_block)

    def draw(self, slot: int) -> tuple[str, int]:
        """The source of a slot, and which of the source's draws it is, counted from 0 over the whole training."""
        block, place = divmod(slot, BLOCK)
        sources, ranks = self._block(block)
        source = int(sources[place])
        return self.names[source], block * int(self.quotas[source]) + int(ranks[place])

    def _draw_block(self, block: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The source of every slot of a block, and how many slots of that source come before it in the block."""
        generator = np.random.default_rng(mix(self._seed, block))
        sources = generator.permutation(np.repeat(np.arange(len(self.names)), self.quotas))
        ranks = np.empty(BLOCK, dtype=np.int64)
        for source, quota in enumerate(self.quotas):
            ranks[sources == source] = np.arange(quota)
        return sources, ranks


def _quotas(shares: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.int64]:
    """Whole numbers that sum to ``total`` by the largest remainders, none of them 0."""
    assert len(shares) <= total, "more sources than slots in a block"
    exact = shares * total
    quotas = np.maximum(np.floor(exact).astype(np.int64), 1)
    order = np.argsort(-(exact - np.floor(exact)), kind="stable")
    for source in order[: max(0, total - int(quotas.sum()))]:
        quotas[source] += 1
    while quotas.sum() > total:
        quotas[np.argmax(quotas)] -= 1
    return quotas
