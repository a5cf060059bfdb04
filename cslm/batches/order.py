"""The order of documents within a source: a permutation that is computed place by place, never stored.

A Feistel network over the next power of four, walked until it lands inside the source: every epoch has its own
permutation, and the millionth document costs what the first does.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

_ROUNDS = 4
_MASK = (1 << 64) - 1


def permuted_index(seed: int, epoch: int, k: int, n: int) -> int:
    """The document, 0 to ``n - 1``, that comes ``k``-th in ``epoch``: a bijection of ``k`` for every seed and epoch."""
    assert 0 <= k < n, (k, n)
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    keys = _keys(seed, epoch)
    while True:
        k = _encrypt(k, half_bits, keys)
        if k < n:
            return k


def permuted_draw(seed: int, draw: int, n: int) -> int:
    """The document, 0 to ``n - 1``, of a draw counted from 0: one epoch after the other, each in its own order."""
    epoch, place = divmod(draw, n)
    return permuted_index(seed, epoch, place, n)


def mix(*values: int) -> int:
    """64 bits that look random, from integers: the same on every machine."""
    state = 0
    for value in values:
        state = _scramble(state ^ (value & _MASK))
    return state


def name_seed(seed: int, name: str) -> int:
    """A seed of its own for a source, by name: a further source leaves the order of the others as it is."""
    return mix(seed, int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:8], "little"))


@lru_cache(maxsize=1024)
def _keys(seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(mix(seed, epoch, round_number) for round_number in range(_ROUNDS))


def _encrypt(value: int, half_bits: int, keys: tuple[int, ...]) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for key in keys:
        left, right = right, left ^ (_scramble(right ^ key) & mask)
    return (left << half_bits) | right


def _scramble(value: int) -> int:
    """The finaliser of splitmix64."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
