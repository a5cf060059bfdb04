"""``mel_kmeans``: cepstra of a log-mel spectrum (``mel_features``), and the nearest of k centroids.

No neural network and no download: features are fixed, k-means is fitted on a corpus. Each utterance is heard at
several stretches of its frequencies, and the one whose frames lie nearest to the centroids gives the units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from cslm.audio.waveform import RESAMPLER
from cslm.errors import UserError
from cslm.units.card import Card, card_tensors
from cslm.units.codec import Units
from cslm.units.fingerprint import fingerprint
from cslm.units.mel_features import Features, MelKMeansParameters, parameters_from

# Version of the algorithm here and in mel_features: raise it when the units of the same card change.
VERSION = 1

_WARP_ROUNDS = 2  # rounds of choosing each utterance's warp and moving the centroids


class MelKMeans:
    """The codec. Tensors: ``centroids`` (K, dims), ``scale`` (dims,), ``mean`` (num_cepstra,), all float64."""

    def __init__(self, name: str, parameters: MelKMeansParameters, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Put together a codec; see ``fit`` and ``from_card``."""
        self.name = name
        self.parameters = parameters
        self.tensors = {
            key: np.ascontiguousarray(tensors[key], dtype=np.float64) for key in ("centroids", "scale", "mean")
        }
        self.fingerprint = fingerprint(self.tensors, _identity(parameters))
        self._features = Features(parameters)
        self._mean = torch.from_numpy(self.tensors["mean"])
        self._scale = torch.from_numpy(self.tensors["scale"])
        self._centroids = torch.from_numpy(self.tensors["centroids"]).T.contiguous()  # (dims, K)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return self.parameters.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Rows of units a second, before merging."""
        return self.parameters.frame_rate_hz

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """One codebook."""
        return (len(self.tensors["centroids"]),)

    @property
    def min_num_samples(self) -> int:
        """One frame."""
        return self._features.hop

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Units]:
        """Units of each waveform ``(num_samples,)``, one at a time."""
        return [self._encode(waveform) for waveform in waveforms]

    def decode(self, units: Units) -> NDArray[np.float32]:
        """Always refuses: centroids do not keep enough to be heard. Train a decoder."""
        raise UserError(f"the card {self.name} has no vocoder: train a decoder on its units (recipes/train_decoder.py)")

    def _encode(self, waveform: NDArray[np.float32]) -> Units:
        if len(waveform) < self.min_num_samples:
            raise UserError(f"too short: {len(waveform)} samples, one frame has {self.min_num_samples}")
        num_frames = self._features.num_frames(len(waveform))
        features = self._features.frames(*self._features.spectra(waveform), self._mean, num_frames) * self._scale
        _, nearest = _nearest(features, self._centroids)
        return Units(nearest.numpy()[:, None])

    def card(self, origin: dict[str, Any] | None = None) -> Card:
        """The card of this codec; ``save_card`` writes it with ``tensors``."""
        return Card(
            name=self.name,
            family="mel_kmeans",
            sample_rate_hz=self.sample_rate_hz,
            frame_rate_hz=self.frame_rate_hz,
            codebook_sizes=self.codebook_sizes,
            parameters=_identity(self.parameters),
            fingerprint=self.fingerprint,
            origin=origin or {},
        )

    @classmethod
    def from_card(cls, card: Card) -> MelKMeans:
        """Open the codec of a card.

        Raises:
            UserError: parameters or tensors that do not fit, or a card of another version of the algorithm.
        """
        values = dict(card.parameters)
        for key, here in (("version", VERSION), ("resampler", RESAMPLER), ("channels", "mean")):
            found = values.pop(key, None)
            if found != here:
                raise UserError(
                    f"{card.path}: {key} is {found!r} on the card, {here!r} in this installation, so units would "
                    "differ: install what the card names, or fit again"
                )
        tensors = card_tensors(card)
        parameters = cls.parameters_from(values, str(card.path))
        dims = 2 * parameters.num_cepstra
        shapes = {"centroids": (card.codebook_sizes[0], dims), "scale": (dims,), "mean": (parameters.num_cepstra,)}
        for key, shape in shapes.items():
            if key not in tensors or tensors[key].shape != shape:
                found = tensors[key].shape if key in tensors else "missing"
                raise UserError(f"{card.artefact} of {card.path}: {key} should be {shape}, is {found}")
        return cls(card.name, parameters, tensors)

    @staticmethod
    def parameters_from(values: Mapping[str, Any], where: str) -> MelKMeansParameters:
        """Parameters from plain values; see ``mel_features.parameters_from``."""
        return parameters_from(values, where)

    @staticmethod
    def sample_rate_of(parameters: MelKMeansParameters) -> int:
        """Rate of the waveforms that ``fit`` takes."""
        return parameters.sample_rate_hz

    @classmethod
    def fit(
        cls,
        waveforms: Iterable[NDArray[np.float32]],
        *,
        name: str,
        parameters: MelKMeansParameters,
        codebook_size: int,
        seed: int,
    ) -> tuple[MelKMeans, dict[str, Any]]:
        """Fit on waveforms of ``sample_rate_hz``; keeps features (0.6 MB a minute), not audio.

        Returns:
            The codec, and facts for the card: frames, units used, perplexity, mean square distance to the centroid.

        Raises:
            UserError: fewer frames than units.
        """
        extract = Features(parameters)
        mean, features = _corpus_features(waveforms, extract)
        straight = len(extract.warps) // 2
        scale = _scale(torch.cat([one[straight] for one in features]), parameters)
        features = [(one * scale).float() for one in features]
        points = torch.cat([one[straight] for one in features])
        if len(points) < codebook_size:
            raise UserError(
                f"too little audio: {len(points)} frames for {codebook_size} units; add audio or ask for fewer"
            )
        centroids = _cluster(points, codebook_size, seed)
        for _ in range(_WARP_ROUNDS if len(extract.warps) > 1 else 0):
            points = torch.cat([one[_nearest(one.double(), centroids.T)[0]] for one in features])
            centroids = _cluster(points, centroids, seed)
        tensors = {"centroids": centroids.numpy(), "scale": scale.numpy(), "mean": mean.numpy()}
        return cls(name, parameters, tensors), _facts(points, centroids)


def _identity(parameters: MelKMeansParameters) -> dict[str, Any]:
    return {**dataclasses.asdict(parameters), "version": VERSION, "resampler": RESAMPLER, "channels": "mean"}


def _nearest(features: torch.Tensor, centroids: torch.Tensor) -> tuple[int, torch.Tensor]:
    """The warp whose frames lie nearest to the centroids, and the centroid of each of its frames.

    ``features`` is (num_warps, num_frames, dims), ``centroids`` (dims, K). A centroid c of x is nearest where
    x c - c c / 2 is largest.
    """
    closeness, nearest = (features @ centroids - centroids.square().sum(0) / 2).max(dim=2)
    square_distance = features.square().sum(2) - 2 * closeness
    warp = int(square_distance.mean(dim=1).argmin())
    return warp, nearest[warp]


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
    closeness, nearest = (points.double() @ centroids.T - centroids.square().sum(1) / 2).max(dim=1)
    share = torch.bincount(nearest, minlength=len(centroids)).double() / len(points)
    used = share[share > 0]
    return {
        "num_frames": len(points),
        "units_used": len(used),
        "perplexity": round(float(torch.exp(-(used * used.log()).sum())), 1),
        "mean_square_distance": round(float((points.double().square().sum(1) - 2 * closeness).mean()), 4),
    }


@torch.inference_mode()
def _corpus_features(
    waveforms: Iterable[NDArray[np.float32]], extract: Features
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
    return mean, [extract.frames(bands.double(), weights, mean, num) for bands, weights, num in spectra]


def _scale(features: torch.Tensor, p: MelKMeansParameters) -> torch.Tensor:
    """Divide each dimension by its deviation to the power ``whitening``, the rest by that of its group; then weigh."""
    deviation = features.std(dim=0, correction=0).reshape(2, p.num_cepstra).clamp(min=1e-9)
    group = deviation.square().mean(dim=1, keepdim=True).sqrt()
    weights = torch.tensor([[1.0], [p.delta_weight]], dtype=torch.float64)
    return (weights / (deviation**p.whitening * group ** (1 - p.whitening))).flatten()
