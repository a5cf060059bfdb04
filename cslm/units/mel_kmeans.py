"""``mel_kmeans``: cepstra of a log-mel spectrum, at 25 frames a second, and the nearest of k centroids.

No neural network and no download: features are fixed, k-means is fitted on a corpus. What is done against the
voice: levels count from the loudest point of the utterance, its mean cepstrum over speech is taken off, and the rate of
change of the cepstra counts beside the cepstra themselves. Everything runs in double precision on one utterance at
a time, so that neighbours, batch sizes and threads do not change a unit.

Frames: an utterance of ``n`` samples has ``round(n / hop)`` of them (halves up), hop = 640 at 25 Hz; frame ``t``
stands for the samples ``t * hop`` to ``(t + 1) * hop``. Less than one hop is too short.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from cslm.audio.log_mel import LogMel
from cslm.audio.waveform import RESAMPLER
from cslm.errors import UserError
from cslm.units.card import Card, card_tensors
from cslm.units.codec import Units
from cslm.units.fingerprint import fingerprint

# Version of the algorithm in this file: raise it when the units of the same card change.
VERSION = 1

_N_FFT = 512
_BLOCK_FRAMES = 6000  # frames of spectrum in memory at a time
_DB_PER_LOG = 20 / math.log(10)


@dataclass(frozen=True)
class MelKMeansParameters:
    """What decides the features. All of it is on the card and in the fingerprint."""

    sample_rate_hz: int = 16000
    """Rate of the waveforms."""
    frame_rate_hz: float = 25.0
    """Units a second, before repeats are merged."""
    spectra_per_frame: int = 4
    """Spectra taken in each frame: 4 at 25 Hz is one every 10 ms."""
    num_bands: int = 40
    """Mel bands."""
    f_min_hz: float = 60.0
    """Lowest frequency."""
    f_max_hz: float = 7600.0
    """Highest frequency."""
    floor_db: float = 60.0
    """Bands more than this below the loudest of the utterance count as silent."""
    num_cepstra: int = 13
    """Cepstra kept, the level included."""
    mean_share: float = 1.0
    """Share of the utterance's mean cepstrum that is taken off (0: none)."""
    mean_prior_sec: float = 0.3
    """The corpus's mean counts as much as so many seconds of the utterance, which steadies short ones."""
    speech_db: float = 30.0
    """Spectra more than this below the loudest are silence, and not in the mean."""
    context: int = 3
    """Spectra averaged around the middle of a frame (a Hann window); odd."""
    delta_span: int = 4
    """Spectra on each side from which the rate of change is taken."""
    delta_weight: float = 0.5
    """Weight of the rate of change; the cepstra weigh 1."""


class MelKMeans:
    """The codec. Tensors: ``centroids`` (K, dims), ``scale`` (dims,), ``mean`` (num_cepstra,), all float64."""

    def __init__(self, name: str, parameters: MelKMeansParameters, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Put together a codec; see ``fit`` and ``from_card``."""
        self.name = name
        self.parameters = parameters
        self.tensors = {key: np.ascontiguousarray(tensors[key], dtype=np.float64) for key in ("centroids", "scale", "mean")}
        self.fingerprint = fingerprint(self.tensors, _identity(parameters))
        self._features = Features(parameters)
        self._mean = torch.from_numpy(self.tensors["mean"])
        self._scale = torch.from_numpy(self.tensors["scale"])
        self._centroids = torch.from_numpy(self.tensors["centroids"]).T.contiguous()  # (dims, K)
        self._half_norms = self._centroids.square().sum(0) / 2

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
        features = self._features(waveform, self._mean) * self._scale
        # The nearest centroid c of x: the largest x c - c c / 2.
        nearest = (features @ self._centroids - self._half_norms).argmax(dim=1)
        return Units(nearest.numpy()[:, None].astype(np.int64))

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
            if values.pop(key, None) != here:
                raise UserError(
                    f"{card.path}: {key} is {card.parameters.get(key)!r} on the card and {here!r} in this installation, "
                    "so units would differ: install what the card names, or fit again"
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
        """Parameters from plain values.

        Raises:
            UserError: an unknown name, a wrong type, or a number that makes no sense.
        """
        fields = {field.name: type(field.default) for field in dataclasses.fields(MelKMeansParameters)}
        typed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in fields:
                raise UserError(f"{where}: unknown parameter {name}; known: {', '.join(fields)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or (fields[name] is int and value != int(value)):
                raise UserError(f"{where}: {name} must be of type {fields[name].__name__}, is {value!r}")
            typed[name] = fields[name](value)
        parameters = MelKMeansParameters(**typed)
        _check(parameters, where)
        return parameters

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
            The codec, and facts for the card: frames, units used, mean distance to the centroid (of 1 per dimension group).

        Raises:
            UserError: fewer frames than units.
        """
        cepstra_mean, features = _corpus_features(waveforms, Features(parameters))
        if len(features) < codebook_size:
            raise UserError(f"too little audio: {len(features)} frames for {codebook_size} units; add audio or ask for fewer")
        scale = _scale(features, parameters)
        points = (features * scale).astype(np.float32)
        with threadpool_limits(1):  # the same sums in the same order everywhere
            kmeans = MiniBatchKMeans(
                codebook_size, batch_size=4096, n_init=1, max_iter=50, max_no_improvement=30, random_state=seed
            ).fit(points)
            nearest = kmeans.predict(points)
        tensors = {"centroids": kmeans.cluster_centers_.astype(np.float64), "scale": scale, "mean": cepstra_mean}
        share = np.bincount(nearest, minlength=codebook_size) / len(points)
        facts = {
            "num_frames": len(points),
            "units_used": int((share > 0).sum()),
            "perplexity": round(float(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())), 1),
            "mean_square_distance": round(float(kmeans.inertia_ / len(points)), 4),
        }
        return cls(name, parameters, tensors), facts


class Features:
    """A waveform to features at the frame rate."""

    def __init__(self, parameters: MelKMeansParameters) -> None:
        """Make filters and kernels."""
        p = self.parameters = parameters
        self.hop = round(p.sample_rate_hz / p.frame_rate_hz)
        self.spectrum_hop = self.hop // p.spectra_per_frame
        self._log_mel = LogMel(p.sample_rate_hz, _N_FFT, self.spectrum_hop, p.num_bands, p.f_min_hz, p.f_max_hz).double()
        self._dct = _dct(p.num_bands, p.num_cepstra)
        self._kernels = _kernels(p)

    def num_frames(self, num_samples: int) -> int:
        """Frames of an utterance of ``num_samples`` samples."""
        return (2 * num_samples + self.hop) // (2 * self.hop)

    def __call__(self, waveform: NDArray[np.float32], corpus_mean: torch.Tensor) -> torch.Tensor:
        """``(num_samples,)`` to features ``(num_frames, 2 * num_cepstra)``: cepstra, then their rates of change."""
        cepstra, weights = self.cepstra(waveform)
        return self.frames(cepstra, weights, self.num_frames(len(waveform)), corpus_mean)

    def cepstra(self, waveform: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cepstra ``(num_spectra, num_cepstra)`` in units of 10 dB, and 1 where there is speech, else 0."""
        p = self.parameters
        decibels = self._spectra(torch.from_numpy(waveform).double()) * _DB_PER_LOG
        peak = decibels.max()
        levels = decibels.amax(dim=1)
        weights = (levels > peak - p.speech_db).double()
        return (decibels.clamp(min=peak - p.floor_db) - peak) @ self._dct / 10, weights

    def frames(
        self, cepstra: torch.Tensor, weights: torch.Tensor, num_frames: int, corpus_mean: torch.Tensor
    ) -> torch.Tensor:
        """Cepstra of an utterance to features of its frames, ``(num_frames, 2 * num_cepstra)``."""
        p = self.parameters
        prior = p.mean_prior_sec * p.sample_rate_hz / self.spectrum_hop
        mean = (weights @ cepstra + prior * corpus_mean) / (weights.sum() + prior)
        reach = self._kernels.shape[1] // 2
        middle = torch.arange(num_frames) * p.spectra_per_frame + p.spectra_per_frame // 2
        window = (middle[:, None] + torch.arange(-reach, reach + 1)).clamp(0, len(cepstra) - 1)
        normal = cepstra - p.mean_share * mean
        return torch.einsum("twc,kw->tkc", normal[window], self._kernels).reshape(num_frames, -1)

    def _spectra(self, waveform: torch.Tensor) -> torch.Tensor:
        """Log-mel ``(num_spectra, num_bands)``, in blocks, so that a long utterance needs little memory."""
        total = self._log_mel.num_frames(len(waveform))
        hop = self.spectrum_hop
        margin = -(-_N_FFT // 2 // hop)
        blocks = []
        for start in range(0, total, _BLOCK_FRAMES):
            stop = min(start + _BLOCK_FRAMES, total)
            first = max(start - margin, 0)
            block = self._log_mel(waveform[first * hop : (stop + margin) * hop])
            blocks.append(block[start - first : stop - first])
        return torch.cat(blocks)



def _identity(parameters: MelKMeansParameters) -> dict[str, Any]:
    return {**dataclasses.asdict(parameters), "version": VERSION, "resampler": RESAMPLER, "channels": "mean"}


def _check(p: MelKMeansParameters, where: str) -> None:
    hop = p.sample_rate_hz / p.frame_rate_hz if p.frame_rate_hz > 0 else 0.0
    rules = {
        "frame_rate_hz must divide sample_rate_hz into whole frames": hop >= 1 and hop == int(hop),
        "spectra_per_frame must divide a frame into whole samples": p.spectra_per_frame >= 1
        and hop % p.spectra_per_frame == 0,
        "f_min_hz and f_max_hz must lie between 0 and half of sample_rate_hz": 0
        <= p.f_min_hz
        < p.f_max_hz
        <= p.sample_rate_hz / 2,
        "num_cepstra must lie between 1 and num_bands": 1 <= p.num_cepstra <= p.num_bands,
        "context must be odd and delta_span at least 1": p.context >= 1 and p.context % 2 == 1 and p.delta_span >= 1,
        "floor_db, speech_db, mean_prior_sec and delta_weight must not be negative": min(
            p.floor_db, p.speech_db, p.mean_prior_sec, p.delta_weight
        )
        >= 0,
    }
    for rule, holds in rules.items():
        if not holds:
            raise UserError(f"{where}: {rule}")


def _dct(num_bands: int, num_cepstra: int) -> torch.Tensor:
    """Orthonormal DCT-II, (num_bands, num_cepstra)."""
    band = torch.arange(num_bands, dtype=torch.float64)[:, None] + 0.5
    order = torch.arange(num_cepstra, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * band * order / num_bands) * math.sqrt(2 / num_bands)
    matrix[:, 0] /= math.sqrt(2)
    return matrix


def _kernels(p: MelKMeansParameters) -> torch.Tensor:
    """The mean over the context and its rate of change, as filters over spectra: (2, odd width)."""
    reach = p.context // 2 + p.delta_span
    hann = np.hanning(p.context + 2)[1:-1]
    slope = np.arange(-p.delta_span, p.delta_span + 1, dtype=np.float64)
    mean = np.zeros(2 * reach + 1)
    mean[p.delta_span : p.delta_span + p.context] = hann / hann.sum()
    change = np.convolve(hann / hann.sum(), slope / (slope @ slope))
    return torch.from_numpy(np.stack([mean, change]))


@torch.inference_mode()
def _corpus_features(
    waveforms: Iterable[NDArray[np.float32]], extract: Features
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corpus's mean cepstrum over speech ``(num_cepstra,)``, and the features of all frames ``(num_frames, dims)``."""
    kept = [(*extract.cepstra(w), extract.num_frames(len(w))) for w in waveforms if len(w) >= extract.hop]
    if not kept:
        raise UserError("no audio to fit on: every utterance is unreadable or shorter than a frame")
    weight = sum(float(weights.sum()) for _, weights, _ in kept)
    mean = torch.stack([weights @ cepstra for cepstra, weights, _ in kept]).sum(0) / weight
    features = torch.cat([extract.frames(*one, mean) for one in kept])
    return mean.numpy(), features.numpy()


def _scale(features: NDArray[np.float64], p: MelKMeansParameters) -> NDArray[np.float64]:
    """Give the cepstra a mean variance of 1 over all dimensions, their rates of change ``delta_weight`` squared."""
    deviation = features.std(axis=0).reshape(2, p.num_cepstra)
    group = np.sqrt(np.square(deviation).mean(axis=1)).clip(min=1e-9)
    return np.repeat(np.array([1.0, p.delta_weight]) / group, p.num_cepstra)
