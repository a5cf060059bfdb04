"""Cut long audio where it is quiet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FRAME_SEC = 0.02
_SMOOTHING_FRAMES = 10  # a pause is where 0.2 s are quiet, not where one frame is


def cut_at_silences(
    waveform: NDArray[np.float32],
    sample_rate_hz: int,
    max_sec: float,
    min_sec: float = 1.0,
    spoken: Sequence[tuple[float, float]] = (),
) -> list[tuple[float, float]]:
    """Pieces of a waveform, none longer than ``max_sec``, cut in the middle of its quietest moments.

    The pieces follow each other without a gap or an overlap and make up the whole. From the start of a piece, the cut
    is the quietest 0.2 s of its second half; where all is equally loud, that is as late as it may be.

    Args:
        waveform: mono ``(num_samples,)``.
        sample_rate_hz: its rate.
        max_sec: the longest piece.
        min_sec: no piece is shorter than this, unless the whole is.
        spoken: start and end, in seconds, of what is cut only where there is nothing else to cut.

    Returns:
        Start and duration of each piece, in seconds.
    """
    assert max_sec >= 2 * min_sec > 0, "a piece must be allowed to be twice as long as the shortest"
    hop = max(1, round(_FRAME_SEC * sample_rate_hz))
    total = len(waveform)
    longest, shortest = int(max_sec * sample_rate_hz), int(min_sec * sample_rate_hz)
    level = _levels(waveform, hop)
    loudest = 1.0 + level.max(initial=0.0)
    for start_sec, end_sec in spoken:
        level[int(start_sec * sample_rate_hz / hop) : int(end_sec * sample_rate_hz / hop) + 1] += loudest
    borders = [0]
    while total - borders[-1] > longest:
        start = borders[-1]
        last = min(start + longest, total - shortest)
        first = min(start + max(shortest, longest // 2), last)
        frames = level[first // hop : last // hop + 1]
        quietest = len(frames) - 1 - int(np.argmin(frames[::-1]))
        borders.append(min(max((first // hop + quietest) * hop + hop // 2, first), last))
    borders.append(total)
    edges = np.array(borders) / sample_rate_hz
    return [(float(start), float(stop - start)) for start, stop in itertools.pairwise(edges)]


def _levels(waveform: NDArray[np.float32], hop: int) -> NDArray[np.float64]:
    """Mean power around each frame (num_frames,)."""
    whole = len(waveform) // hop * hop
    frames, rest = waveform[:whole].reshape(-1, hop), waveform[whole:]
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / hop  # hours of audio are not copied
    power = np.append(power, np.square(rest, dtype=np.float64).sum() / hop) if len(rest) else power
    kernel = np.ones(_SMOOTHING_FRAMES) / _SMOOTHING_FRAMES
    edge = _SMOOTHING_FRAMES // 2
    smoothed: NDArray[np.float64] = np.convolve(
        np.pad(power, (edge, _SMOOTHING_FRAMES - 1 - edge), mode="edge"), kernel, mode="valid"
    )
    return smoothed
