"""Fit the centroids of ``mel_kmeans`` on a sample, moving them and each utterance's warp in turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from cslm.codecs.mel_features import MelFeatures
from cslm.codecs.mel_parameters import MelKMeansParameters
from cslm.codecs.mel_paths import centroid_distances, nearest_warp
from cslm.errors import UserError

_WARP_ROUNDS = 2  # rounds of choosing each utterance's warp and moving the centroids


@torch.inference_mode()
def fit_tensors(
    waveforms: Iterable[NDArray[np.float32]], parameters: MelKMeansParameters, codebook_size: int, seed: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Tensors of the codec, and facts for the card; see ``MelKMeans.fit``."""
    extract = MelFeatures(parameters)
    mean, features = _corpus_features(waveforms, extract)
    straight = len(extract.warps) // 2
    scale = _scale(torch.cat([one[straight] for one in features]), parameters)
    features = [one.mul_(scale.float()) for one in features]
    points = torch.cat([one[straight] for one in features])
    if len(points) < codebook_size:
        raise UserError(f"too little audio: {len(points)} frames for {codebook_size} units; add audio or ask for fewer")
    centroids = _cluster(points, codebook_size, seed)
    for _ in range(_WARP_ROUNDS if len(extract.warps) > 1 else 0):
        points = torch.cat(
            [one[nearest_warp([one.double()[:, :: parameters.warp_step]], centroids.T)] for one in features]
        )
        centroids = _cluster(points, centroids, seed)
    tensors = {"centroids": centroids.numpy(), "scale": scale.numpy(), "mean": mean.numpy()}
    return tensors, _facts(points, centroids)


def _cluster(points: torch.Tensor, start: int | torch.Tensor, seed: int) -> torch.Tensor:
    """Centroids (K, dims) float64 of points (num_points, dims): so many, or moved on from given ones."""
    given = start.float().numpy() if isinstance(start, torch.Tensor) else None
    with threadpool_limits(1):  # the same sums in the same order everywhere
        kmeans = MiniBatchKMeans(
            int(start) if given is None else len(given),
            init="k-means++" if given is None else given,
            batch_size=4096,
            n_init=1,
            max_iter=50,
            max_no_improvement=30,
            random_state=seed,
        ).fit(points.float().numpy())
    return torch.from_numpy(kmeans.cluster_centers_.astype(np.float64))


def _facts(points: torch.Tensor, centroids: torch.Tensor) -> dict[str, Any]:
    points = points.double()
    nearness, nearest = centroid_distances(points, centroids.T).min(dim=1)
    share = torch.bincount(nearest, minlength=len(centroids)).double() / len(points)
    used = share[share > 0]
    return {
        "num_frames": len(points),
        "units_used": len(used),
        "perplexity": round(float(torch.exp(-(used * used.log()).sum())), 1),
        "mean_square_distance": round(float((points.square().sum(1) + nearness).mean()), 4),
    }


def _corpus_features(
    waveforms: Iterable[NDArray[np.float32]], extract: MelFeatures
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Mean cepstrum over speech ``(num_cepstra,)``, and each utterance's features ``(num_warps, num_frames, dims)``."""
    spectra = [
        (bands.float(), weights, extract.num_frames(len(waveform)))
        for waveform in waveforms
        if len(waveform) >= extract.hop
        for bands, weights in [extract.spectra(waveform)]
    ]
    if not spectra:
        raise UserError("no audio to fit on: every utterance is unreadable or shorter than a frame")
    straight = len(extract.warps) // 2
    total = torch.stack([weights @ extract.cepstra(bands.double())[straight] for bands, weights, _ in spectra]).sum(0)
    mean = total / torch.stack([weights.sum() for _, weights, _ in spectra]).sum()
    features = [
        torch.cat([block.float() for block in extract.frames(bands.double(), weights, mean, num_frames)], dim=1)
        for bands, weights, num_frames in spectra
    ]
    return mean, features


def _scale(features: torch.Tensor, p: MelKMeansParameters) -> torch.Tensor:
    """Divide each dimension by its deviation to the power ``whitening``, the rest by that of its group; then weigh."""
    deviation = features.std(dim=0, correction=0).reshape(2, p.num_cepstra).clamp(min=1e-9)
    group = deviation.square().mean(dim=1, keepdim=True).sqrt()
    weights = torch.tensor([[1.0], [p.delta_weight]], dtype=torch.float64)
    return (weights / (deviation**p.whitening * group ** (1 - p.whitening))).flatten()
