"""Centroids for features of any kind: a bounded random sample of frames, and mini-batch k-means on it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from cslm.errors import UserError

_FRAMES_PER_UNIT = 256  # of the sample: more moves centroids little
_MOST_BYTES = 1 << 30  # of the sample
_BATCH = 4096
_PROBE = 20_000  # frames that the distance is measured on
_MOST_EPOCHS = 50
_ENOUGH = 1e-3  # stop when an epoch brings the distance down by less than this share


class FrameSample:
    """A uniform random sample of all frames that were added (reservoir sampling), in bounded memory."""

    def __init__(self, codebook_size: int, dims: int, seed: int) -> None:
        """Room for 256 frames a unit, or for 1 GiB of them, whichever is less, but one a unit at least."""
        most = min(_FRAMES_PER_UNIT * codebook_size, _MOST_BYTES // (4 * dims))
        self._kept = np.empty((max(most, codebook_size), dims), np.float32)
        self._generator = np.random.default_rng(seed)
        self.num_seen = 0

    @property
    def frames(self) -> NDArray[np.float32]:
        """The sample (num_frames, dims)."""
        return self._kept[: self.num_seen]

    def add(self, frames: NDArray[np.float32]) -> None:
        """Frames (num_frames, dims) of one utterance."""
        room = max(0, len(self._kept) - self.num_seen)
        first, later = frames[:room], frames[room:]
        self._kept[self.num_seen : self.num_seen + len(first)] = first
        seen = self.num_seen + len(first) + 1 + np.arange(len(later))
        slots = (self._generator.random(len(later)) * seen).astype(np.int64)
        for slot, frame in zip(slots.tolist(), later, strict=True):
            if slot < len(self._kept):
                self._kept[slot] = frame
        self.num_seen += len(frames)


def fit_centroids(sample: FrameSample, codebook_size: int, seed: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Centroids (codebook_size, dims), and facts for the card; prints the mean square distance after each epoch.

    Raises:
        UserError: fewer frames than units.
    """
    frames = sample.frames
    if len(frames) < codebook_size:
        raise UserError(f"too little audio: {len(frames)} frames for {codebook_size} units; add audio or ask for fewer")
    generator = np.random.default_rng(seed)
    probe = frames[generator.permutation(len(frames))[:_PROBE]]
    kmeans = MiniBatchKMeans(codebook_size, n_init=1, random_state=seed, compute_labels=False)
    batch = max(_BATCH, 3 * codebook_size)
    course: list[float] = []
    with threadpool_limits(1):  # the same sums in the same order everywhere
        for epoch in range(_MOST_EPOCHS):
            order = generator.permutation(len(frames))
            for start in range(0, len(frames), batch):
                kmeans.partial_fit(frames[order[start : start + batch]])
            course.append(-float(kmeans.score(probe)) / len(probe))
            print(f"k-means, epoch {epoch + 1}: mean square distance {course[-1]:.4f}", file=sys.stderr)
            if epoch and course[-2] - course[-1] < _ENOUGH * course[-2]:
                break
        share = np.bincount(kmeans.predict(frames), minlength=codebook_size) / len(frames)
    used = share[share > 0]
    return kmeans.cluster_centers_.astype(np.float32), {
        "num_frames": sample.num_seen,
        "num_frames_fitted_on": len(frames),
        "units_used": len(used),
        "perplexity": round(float(np.exp(-(used * np.log(used)).sum())), 1),
        "mean_square_distance": [round(value, 4) for value in course],
    }
