"""A family of speech tokenizers from outside the package: the level of each hundredth of a second, in steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.codecs.algorithm import algorithm, without_algorithm
from cslm.codecs.card import Card, card_tensors
from cslm.codecs.codec import check_long_enough, no_vocoder
from cslm.codecs.fingerprint import fingerprint
from cslm.codecs.units import Units
from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError

RATE_HZ = 16000
VERSION = 1


@dataclasses.dataclass(frozen=True)
class LoudnessParameters:
    """What decides the features."""

    floor_db: float = 60.0
    """Levels below this count as this."""


class Loudness:
    """The codec. Tensors: ``centroids`` (K, 1), in decibels."""

    family = "loudness"
    is_neural = False
    sample_rate_hz = RATE_HZ
    frame_rate_hz = 100.0
    min_num_samples = RATE_HZ // 100

    def __init__(self, name: str, parameters: LoudnessParameters, centroids: NDArray[Any], runtime: Runtime) -> None:
        self.name, self.runtime, self.parameters = name, runtime, parameters
        self.tensors = {"centroids": centroids}
        self.codebook_sizes = (len(centroids),)
        self._identity = {**dataclasses.asdict(parameters), **algorithm(VERSION)}
        self.fingerprint = fingerprint(self.tensors, self._identity)

    def encode(self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None) -> list[Units]:
        check_long_enough(waveforms, self.min_num_samples)
        levels = [_levels(waveform, self.parameters) for waveform in waveforms]
        nearest = [np.abs(one[:, None] - self.tensors["centroids"][:, 0]).argmin(axis=1) for one in levels]
        return [Units(one[:, None]) for one in nearest]

    def decode(self, units: Units) -> NDArray[np.float32]:
        raise no_vocoder(self.name)

    def centroids(self) -> list[NDArray[Any]]:
        return [self.tensors["centroids"]]

    def card(self, origin: dict[str, Any] | None = None) -> Card:
        rates = (self.sample_rate_hz, self.frame_rate_hz, self.codebook_sizes)
        return Card(self.name, self.family, *rates, self._identity, fingerprint=self.fingerprint, origin=origin or {})

    @classmethod
    def from_card(cls, card: Card, runtime: Runtime) -> Loudness:
        values, _ = without_algorithm(card, VERSION)
        return cls(card.name, cls.parameters_from(values, str(card.path)), card_tensors(card)["centroids"], runtime)

    @classmethod
    def fittable(cls) -> type[Loudness]:
        return cls

    @staticmethod
    def parameters_from(values: Mapping[str, Any], where: str) -> LoudnessParameters:
        unknown = set(values) - {"floor_db"}
        if unknown:
            raise UserError(f"{where}: unknown parameter {min(unknown)}; known: floor_db")
        return LoudnessParameters(**values)

    @staticmethod
    def sample_rate_of(parameters: LoudnessParameters) -> int:
        return RATE_HZ

    @classmethod
    def fit(
        cls,
        waveforms: Iterable[NDArray[np.float32]],
        *,
        name: str,
        parameters: LoudnessParameters,
        codebook_size: int,
        seed: int,
        runtime: Runtime | None = None,
    ) -> tuple[Loudness, dict[str, Any]]:
        levels = np.concatenate([_levels(waveform, parameters) for waveform in waveforms])
        centroids = np.quantile(levels, (np.arange(codebook_size) + 0.5) / codebook_size)[:, None]
        return cls(name, parameters, centroids, runtime or Runtime()), {"num_frames": len(levels)}


def _levels(waveform: NDArray[np.float32], parameters: LoudnessParameters) -> NDArray[np.float64]:
    """Decibels of each frame (num_frames,)."""
    hop = Loudness.min_num_samples
    frames = waveform[: len(waveform) // hop * hop].astype(np.float64).reshape(-1, hop)
    return np.maximum(10 * np.log10((frames**2).mean(axis=1) + 1e-12), -parameters.floor_db)
