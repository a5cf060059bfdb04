"""``ssl_kmeans``: hidden states of a self-supervised speech model (``ssl_features``), and the nearest of K centroids.

The units of HuBERT, wav2vec 2.0, WavLM and w2v-BERT tokenizers (GSLM, TWIST, SpeechGPT, Seamless). The weights stay
where they are published; a card says where, and its fingerprint holds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.waveform import RESAMPLER
from cslm.codecs.algorithm import algorithm, without_algorithm
from cslm.codecs.card import Card, Weights, card_tensors, checked
from cslm.codecs.codec import check_long_enough, no_vocoder
from cslm.codecs.fingerprint import fingerprint
from cslm.codecs.units import Units
from cslm.encoders.audio_batches import AudioBatches, in_order
from cslm.encoders.encoder import Encoder
from cslm.encoders.runtime import Runtime
from cslm.encoders.ssl_features import SslFeatures
from cslm.errors import UserError

__all__ = ["SslKMeans", "SslKMeansParameters"]

# Version of the algorithm here and in ssl_features: raise it when the units of the same card change.
VERSION = 1


_KINDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "layer": (int,),
    "revision": (str, type(None)),
    "normalize_waveform": (bool, type(None)),
}


@dataclass(frozen=True)
class SslKMeansParameters:
    """What to fit on: ``--parameters.model facebook/hubert-base-ls960 --parameters.layer 9``."""

    model: str
    """A hub id, or a folder as ``save_pretrained`` writes it."""
    layer: int
    """Transformer block whose output is clustered; 1 is the first."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    normalize_waveform: bool | None = None
    """Bring each waveform to mean 0 and variance 1 (default: as the checkpoint's processor says)."""


class SslKMeans:
    """The codec. Tensors of the card: ``centroids`` (K, dims), float32."""

    is_neural = True
    family = "ssl_kmeans"
    parameters_class = SslKMeansParameters

    def __init__(
        self,
        name: str,
        weights: Weights,
        features: Encoder,
        centroids: NDArray[Any],
        resampler: str = RESAMPLER,
    ) -> None:
        """Put together a codec; see ``fit`` and ``from_card``."""
        self.name = name
        self.weights = weights
        self.runtime = features.runtime
        self.tensors = {"centroids": np.ascontiguousarray(centroids, dtype=np.float32)}
        self._features = features
        self._identity = {**features.parameters(), **algorithm(VERSION, resampler)}
        self.fingerprint = fingerprint({**features.tensors(), **self.tensors}, {**self._identity, **features.facts()})
        self._centroids = torch.from_numpy(self.tensors["centroids"]).to(features.runtime.device)
        self._norms = self._centroids.square().sum(1)  # (K,)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return self._features.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Rows of units a second, before merging."""
        return self._features.frame_rate_hz

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """One codebook."""
        return (len(self.tensors["centroids"]),)

    @property
    def min_num_samples(self) -> int:
        """One frame."""
        return self._features.min_num_samples

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform."""
        return self._features.num_frames(num_samples)

    def encode(self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None) -> list[Units]:
        """Units of each waveform ``(num_samples,)``: the nearest centroid of every frame.

        Raises:
            UserError: a waveform shorter than ``min_num_samples``.
        """
        check_long_enough(waveforms, self.min_num_samples)
        return in_order((index, self._nearest(features)) for index, features in self._features(waveforms, batches))

    def _nearest(self, features: torch.Tensor) -> Units:
        """Units of features (num_frames, dims)."""
        nearest = torch.addmm(self._norms, features, self._centroids.T, alpha=-2).argmin(1)
        return Units(nearest.cpu().numpy()[:, None])

    def decode(self, units: Units) -> NDArray[np.float32]:
        """Always refuses: the card has no vocoder."""
        raise no_vocoder(self.name)

    def centroids(self) -> list[NDArray[np.float32]]:
        """The table (units, dims) of the one codebook."""
        return [self.tensors["centroids"]]

    def card(self, origin: dict[str, Any] | None = None) -> Card:
        """The card of this codec; ``save_card`` writes it with ``tensors``."""
        return Card(
            name=self.name,
            family=self.family,
            sample_rate_hz=self.sample_rate_hz,
            frame_rate_hz=self.frame_rate_hz,
            codebook_sizes=self.codebook_sizes,
            parameters=self._identity,
            weights=self.weights,
            fingerprint=self.fingerprint,
            origin=origin or {},
        )

    @classmethod
    def from_card(cls, card: Card, runtime: Runtime) -> SslKMeans:
        """Open the codec of a card: its centroids, and the weights that it names.

        Raises:
            UserError: weights, layer or centroids that do not fit or are not there, or a card of another version.
        """
        values, resampler = without_algorithm(card, VERSION)
        parameters = cls.parameters_from({**values, **_model_of(card)}, str(card.path))
        tensors = card_tensors(card)
        features = cls.open_features(parameters, runtime, str(card.path))
        expected = (card.codebook_sizes[0], features.dims)
        found = tensors["centroids"].shape if "centroids" in tensors else "missing"
        if found != expected:
            raise UserError(f"{card.artefact} of {card.path}: centroids should be {expected}, is {found}")
        weights = Weights(parameters.model, parameters.revision)
        return checked(cls(card.name, weights, features, tensors["centroids"], resampler), card)

    @classmethod
    def fittable(cls) -> type[SslKMeans]:
        """This family is fitted on a corpus."""
        return cls

    @staticmethod
    def open_features(parameters: Any, runtime: Runtime, where: str) -> Encoder:
        """The features of a card, or of the parameters to fit with."""
        return SslFeatures(
            parameters.model, parameters.revision, parameters.layer, parameters.normalize_waveform, runtime, where
        )

    @classmethod
    def parameters_from(cls, values: Mapping[str, Any], where: str) -> SslKMeansParameters:
        """Parameters from plain values.

        Raises:
            UserError: an unknown name, a wrong type, or no model or layer.
        """
        known = [field.name for field in dataclasses.fields(cls.parameters_class)]
        for name, value in values.items():
            if name not in known:
                raise UserError(f"{where}: unknown parameter {name}; known: {', '.join(known)}")
            kinds = _KINDS.get(name, (object,))
            if not isinstance(value, kinds) or (name == "layer" and isinstance(value, bool)):
                raise UserError(f"{where}: {name} must be of type {kinds[0].__name__}, is {value!r}")
        for name in ("model", "layer"):
            if name not in values:
                raise UserError(f"{where}: {name} is missing: give --parameters.{name}")
        return cls.parameters_class(**values)

    @staticmethod
    def sample_rate_of(parameters: SslKMeansParameters) -> int:
        """Rate of the waveforms that ``fit`` takes."""
        return 16000

    @classmethod
    def fit(
        cls,
        waveforms: Iterable[NDArray[np.float32]],
        *,
        name: str,
        parameters: SslKMeansParameters,
        codebook_size: int,
        seed: int,
        runtime: Runtime | None = None,
    ) -> tuple[SslKMeans, dict[str, Any]]:
        """Fit centroids on a bounded random sample of the frames of waveforms.

        Returns:
            The codec, and facts for the card: frames, units used, perplexity, mean square distance by epoch.

        Raises:
            UserError: fewer frames than units, or a model that cannot be read.
        """
        from cslm.codecs.kmeans_fitting import FrameSample, fit_centroids  # scikit-learn takes seconds to import

        features = cls.open_features(parameters, runtime or Runtime(), f"parameters of {cls.family}")
        sample = FrameSample(codebook_size, features.dims, seed)
        for few in _by_the_batch(waveforms, features):
            for frames in in_order(features(few)):
                sample.add(frames.cpu().numpy())
        centroids, facts = fit_centroids(sample, codebook_size, seed)
        found = Path(parameters.model)
        weights = Weights(str(found.resolve()) if found.exists() else parameters.model, parameters.revision)
        return cls(name, weights, features, centroids), facts


def _by_the_batch(waveforms: Iterable[NDArray[np.float32]], features: Encoder) -> Iterable[list[NDArray[np.float32]]]:
    """A few minutes of audio at a time; what is shorter than a frame is left out."""
    wanted, few, count = 8 * features.runtime.batch_sec * features.sample_rate_hz, list[NDArray[np.float32]](), 0
    for waveform in waveforms:
        if len(waveform) < features.min_num_samples:
            continue
        few.append(waveform)
        count += len(waveform)
        if count >= wanted:
            yield few
            few, count = [], 0
    if few:
        yield few


def _model_of(card: Card) -> dict[str, Any]:
    if card.weights is None:
        raise UserError(f"the card {card.path} does not say where its model is: give weights: {{source: HUB_ID}}")
    return {"model": card.weights.source, "revision": card.weights.revision}
