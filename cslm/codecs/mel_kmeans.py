"""``mel_kmeans``: cepstra of a log-mel spectrum (``mel_features``), and centroids that change as seldom as fits.

No neural network and no download: features are fixed, k-means is fitted on a corpus. Each utterance is heard at
several stretches of its frequencies, and the one whose frames lie nearest to the centroids gives the units. Frames are
short (10 ms), and a change of unit costs something: so a unit lasts about 50 ms, and where it begins depends on the
speech, not on a grid of frames. After repeats are merged, 19 units a second are left of 100.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.waveform import RESAMPLER
from cslm.codecs.algorithm import algorithm, without_algorithm
from cslm.codecs.card import Card, card_tensors
from cslm.codecs.codec import no_vocoder
from cslm.codecs.fingerprint import fingerprint
from cslm.codecs.mel_features import MelFeatures
from cslm.codecs.mel_parameters import MelKMeansParameters, parameters_from
from cslm.codecs.mel_paths import centroid_distances, nearest_warp, steady_paths
from cslm.codecs.units import Units
from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError

__all__ = ["MelKMeans", "MelKMeansParameters"]

# Version of the algorithm here, in mel_features and in mel_paths: raise it when the units of the same card change.
VERSION = 1

# Parameters that came later, with the value that leaves units as they were: cards of before, which do not name them,
# keep their fingerprint and their units.
_LATER = {"change_penalty": 0.0, "warp_step": 1, "fixed_level": 0}


class MelKMeans:
    """The codec. Tensors: ``centroids`` (K, dims), ``scale`` (dims,), ``mean`` (num_cepstra,), all float64."""

    family = "mel_kmeans"
    is_neural = False

    def __init__(
        self,
        name: str,
        parameters: MelKMeansParameters,
        tensors: Mapping[str, NDArray[Any]],
        resampler: str = RESAMPLER,
        runtime: Runtime | None = None,
    ) -> None:
        """Put together a codec; see ``fit`` and ``from_card``."""
        self.name = name
        self.runtime = runtime or Runtime()
        self.parameters = parameters
        self.tensors = {
            key: np.ascontiguousarray(tensors[key], dtype=np.float64) for key in ("centroids", "scale", "mean")
        }
        self._identity = {
            **{key: value for key, value in dataclasses.asdict(parameters).items() if _LATER.get(key) != value},
            **algorithm(VERSION, resampler),
        }
        self.fingerprint = fingerprint(self.tensors, self._identity)
        self._features = MelFeatures(parameters)
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

    @property
    def reach_samples(self) -> int | None:
        """Samples before and behind a frame that decide its unit; None where all of the utterance does."""
        p = self.parameters
        whole = p.change_penalty or p.mean_share or len(self._features.warps) > 1 or not p.fixed_level
        return None if whole else self._features.reach_samples

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None) -> list[Units]:
        """Units of each waveform ``(num_samples,)``; neighbours change nothing."""
        if self.parameters.change_penalty == 0:
            return [_units(torch.cat([block.argmin(1) for block in self._distances(one)])) for one in waveforms]
        paths: list[torch.Tensor] = [torch.empty(0)] * len(waveforms)
        lengths = [self._features.num_frames(len(waveform)) for waveform in waveforms]
        for chosen in (batches or AudioBatches(self.runtime.batch_sec)).groups(lengths, self.frame_rate_hz):
            for index, path in zip(chosen, self._steady([waveforms[i] for i in chosen]), strict=True):
                paths[index] = path
        return [_units(path) for path in paths]

    def decode(self, units: Units) -> NDArray[np.float32]:
        """Always refuses: centroids do not keep enough to be heard. Train a decoder."""
        raise no_vocoder(self.name)

    def _steady(self, waveforms: list[NDArray[np.float32]]) -> list[torch.Tensor]:
        """Units of a few waveforms under the change penalty; of a long one, block by block."""
        lengths = [self._features.num_frames(len(waveform)) for waveform in waveforms]
        distances = [self._distances(waveform) for waveform in waveforms]
        if len(distances) == 1:
            blocks: Iterable[torch.Tensor] = (block[None] for block in distances[0])
        else:
            blocks = [torch.nn.utils.rnn.pad_sequence([torch.cat(list(one)) for one in distances], batch_first=True)]
        return steady_paths(blocks, lengths, self.parameters.change_penalty)

    def _distances(self, waveform: NDArray[np.float32]) -> Iterator[torch.Tensor]:
        """Squared distances (frames, K) to the centroids, less what all have in common, at the warp that fits best."""
        if len(waveform) < self.min_num_samples:
            raise UserError(f"too short: {len(waveform)} samples, one frame has {self.min_num_samples}")
        spectra = self._features.spectra(waveform)
        known = (*spectra, self._mean, self._features.num_frames(len(waveform)))
        warp = 0
        if len(self._features.warps) > 1:
            warps = self._features.frames(*known, step=self.parameters.warp_step)
            warp = nearest_warp((block * self._scale for block in warps), self._centroids)
        for block in self._features.frames(*known, warp):
            yield centroid_distances(block[0] * self._scale, self._centroids)

    def centroids(self) -> list[NDArray[np.float64]]:
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
            fingerprint=self.fingerprint,
            origin=origin or {},
        )

    @classmethod
    def from_card(cls, card: Card, runtime: Runtime) -> MelKMeans:
        """Open the codec of a card.

        Raises:
            UserError: parameters or tensors that do not fit, or a card of another version of the algorithm.
        """
        named, resampler = without_algorithm(card, VERSION)
        values = {**_LATER, **named}
        tensors = card_tensors(card)
        parameters = cls.parameters_from(values, str(card.path))
        dims = 2 * parameters.num_cepstra
        shapes = {"centroids": (card.codebook_sizes[0], dims), "scale": (dims,), "mean": (parameters.num_cepstra,)}
        for key, shape in shapes.items():
            if key not in tensors or tensors[key].shape != shape:
                found = tensors[key].shape if key in tensors else "missing"
                raise UserError(f"{card.artefact} of {card.path}: {key} should be {shape}, is {found}")
        return cls(card.name, parameters, tensors, resampler, runtime)

    @classmethod
    def fittable(cls) -> type[MelKMeans]:
        """This family is fitted on a corpus."""
        return cls

    @staticmethod
    def parameters_from(values: Mapping[str, Any], where: str) -> MelKMeansParameters:
        """Parameters from plain values; see ``mel_parameters.parameters_from``."""
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
        runtime: Runtime | None = None,
    ) -> tuple[MelKMeans, dict[str, Any]]:
        """Fit on waveforms of ``sample_rate_hz``; keeps features (about 2 MB a minute), not audio.

        Returns:
            The codec, and facts for the card: frames, units used, perplexity, mean square distance to the centroid.

        Raises:
            UserError: fewer frames than units.
        """
        # Imported here: scikit-learn takes seconds to import, and encoding needs none of it.
        from cslm.codecs.mel_kmeans_fitting import fit_tensors

        tensors, facts = fit_tensors(waveforms, parameters, codebook_size, seed)
        return cls(name, parameters, tensors, runtime=runtime), facts


def _units(path: torch.Tensor) -> Units:
    return Units(path.numpy()[:, None])
