"""A tenth of the speech of each language: what claims about little data learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def tenth_of(items: Sequence[T], language_of: Callable[[T], str], seed: int) -> list[T]:
    """A tenth of the items of each language, one at least, drawn by the seed, in the order of all."""
    generator = np.random.default_rng(seed)
    kept: set[int] = set()
    for language in sorted({language_of(item) for item in items}):
        own = [index for index, item in enumerate(items) if language_of(item) == language]
        kept.update(generator.choice(own, max(1, len(own) // 10), replace=False).tolist())
    return [items[index] for index in sorted(kept)]
