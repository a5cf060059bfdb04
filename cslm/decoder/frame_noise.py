"""Noise that belongs to frames: whatever part of an utterance is asked for, a frame gets the numbers of its own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

_BLOCK = 32  # frames that are drawn together

NORMAL, UNIFORM = 0, 1
"""what is drawn: standard normal numbers, or numbers from 0 to 1; each has its own stream"""


def frame_noise(seed: int, kind: int, first_frame: int, num_frames: int, width: int) -> torch.Tensor:
    """Numbers float32 ``(num_frames, width)`` of the frames from ``first_frame`` on, a function of seed and frame."""
    if num_frames == 0:
        return torch.zeros(0, width)
    first, last = first_frame // _BLOCK, (first_frame + num_frames - 1) // _BLOCK
    drawn = np.concatenate([_block(seed, kind, block, width) for block in range(first, last + 1)])
    start = first_frame - first * _BLOCK
    return torch.from_numpy(drawn[start : start + num_frames])


def _block(seed: int, kind: int, block: int, width: int) -> NDArray[np.float32]:
    # Philox counts its numbers: another block is another counter of the same stream
    generator = np.random.Generator(np.random.Philox(key=[seed, kind], counter=[0, 0, 0, block]))
    if kind == UNIFORM:
        return generator.random((_BLOCK, width), dtype=np.float32)
    return generator.standard_normal((_BLOCK, width), dtype=np.float32)
