"""From features to units for ``mel_kmeans``: the stretch that fits best, then the path with the fewest changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray


def nearest_warp(blocks: Iterable[torch.Tensor], centroids: torch.Tensor) -> int:
    """The warp whose frames lie nearest to the centroids.

    ``blocks`` are features (num_warps, frames, dims), ``centroids`` (dims, K).
    """
    square_distances = [
        (features.square().sum(2) + centroid_distances(features, centroids).amin(dim=2)).sum(dim=1)
        for features in blocks
    ]
    return int(torch.stack(square_distances).sum(0).argmin())


def centroid_distances(features: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Squared distances (..., K) of features (..., dims) to centroids (dims, K), less the square of each feature."""
    return torch.baddbmm(
        centroids.square().sum(0), features.reshape(1, -1, features.shape[-1]), centroids[None], alpha=-2
    ).view(*features.shape[:-1], -1)


def steady_paths(blocks: Iterable[torch.Tensor], lengths: Sequence[int], change_penalty: float) -> list[torch.Tensor]:
    """The centroid of each frame, so that squared distances and penalties for changes sum to the least.

    The shortest path is exact; of equals the lower number wins. Several utterances go side by side, which changes
    nothing. Source: duration-penalised units of Kamper and van Niekerk, arXiv 2012.07551.

    Args:
        blocks: squared distances (utterances, frames, K), less anything that is the same for all K, one block of frames
            after another; what follows the end of an utterance is not read.
        lengths: frames of each utterance.
        change_penalty: what a change costs.

    Returns:
        (length,) for each utterance.
    """
    rows = np.arange(len(lengths))
    cost: NDArray[np.float64] | None = None
    # For each frame (utterances,): where the cheapest path into it comes from, if it changes there; and
    # (utterances, K): whether the cheapest path to a centroid does.
    sources: list[NDArray[np.int64]] = []
    changes: list[NDArray[np.bool_]] = []
    for block in blocks:
        for distance in block.transpose(0, 1).contiguous().numpy():
            cost = np.zeros_like(distance) if cost is None else cost
            sources.append(cost.argmin(axis=1))
            cheapest = cost[rows, sources[-1], None] + change_penalty
            changes.append(cost > cheapest)
            cost = np.minimum(cost, cheapest) + distance
    assert cost is not None, "no frames"
    sources.append(cost.argmin(axis=1))
    path = np.empty((len(lengths), max(lengths)), dtype=np.int64)
    unit = np.zeros(len(lengths), dtype=np.int64)
    stops = np.array(lengths)
    for frame in range(path.shape[1] - 1, -1, -1):
        unit = np.where(stops == frame + 1, sources[frame + 1], unit)
        path[:, frame] = unit
        unit = np.where(changes[frame][rows, unit], sources[frame], unit)
    return [torch.from_numpy(row[:length]) for row, length in zip(path, lengths, strict=True)]
