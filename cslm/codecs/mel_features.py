"""Cepstra of a log-mel spectrum at the frame rate of a speech tokenizer, made independent of the voice.

Levels count from the loudest point of the utterance; its mean cepstrum over speech is taken off; the rate of change of
the cepstra counts beside the cepstra themselves; and the features are made for several stretches of the
frequencies, as by vocal tracts of other lengths. Everything runs in double precision on one utterance at a time, so
that neighbours, batch sizes and threads do not change a unit.

Frames: an utterance of ``n`` samples has ``round(n / hop)`` of them (halves up), hop = 160 at 100 Hz; frame ``t``
stands for the samples ``t * hop`` to ``(t + 1) * hop``. Less than one hop is too short.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.log_mel import mel_filters
from cslm.errors import UserError

_N_FFT = 512
_BLOCK_FRAMES = 4096  # what is computed at a time of a long utterance
_SILENCE = 1e-10  # power in a band that counts as none


@dataclass(frozen=True)
class MelKMeansParameters:
    """What decides the features. All of it is on the card and in the fingerprint."""

    sample_rate_hz: int = 16000
    """Rate of the waveforms."""
    frame_rate_hz: float = 100.0
    """Units a second, before repeats are merged."""
    spectra_per_frame: int = 1
    """Spectra taken in each frame: 1 at 100 Hz and 4 at 25 Hz are one every 10 ms."""
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
    context: int = 7
    """Spectra averaged around the middle of a frame (a Hann window); odd."""
    delta_span: int = 8
    """Spectra on each side from which the rate of change is taken."""
    delta_weight: float = 1.0
    """Weight of the rate of change; the cepstra weigh 1."""
    whitening: float = 0.5
    """From 0 (dimensions keep their relative variances) to 1 (all dimensions vary alike)."""
    warp_range: float = 0.18
    """Frequencies are stretched by up to this share either way, for vocal tracts of other lengths (0: not at all)."""
    num_warps: int = 7
    """Stretches tried; the one whose frames lie nearest to the centroids is taken. Odd."""
    warp_step: int = 4
    """From one frame to the next that counts for the choice of the stretch."""
    change_penalty: float = 15.0
    """What a change of unit costs, as a squared distance of features (about 7 from a frame to its centroid); 0 takes
    the nearest centroid of each frame."""


class Features:
    """A waveform to features at the frame rate, one set for each warp of the frequencies."""

    def __init__(self, parameters: MelKMeansParameters) -> None:
        """Make filters and kernels."""
        p = self.parameters = parameters
        self.hop = round(p.sample_rate_hz / p.frame_rate_hz)
        self.spectrum_hop = self.hop // p.spectra_per_frame
        self.warps = _warps(p)
        self._window = torch.hann_window(_N_FFT, dtype=torch.float64)
        self._filters = mel_filters(p.sample_rate_hz, _N_FFT, p.num_bands, p.f_min_hz, p.f_max_hz).double()
        if (self._filters.sum(0) == 0).any():
            raise UserError(f"num_bands {p.num_bands} is too many for {p.sample_rate_hz} Hz: a band holds no frequency")
        dct = _dct(p.num_bands, p.num_cepstra)
        self._to_cepstra = torch.stack([_warp_matrix(p, self._filters, warp) @ dct for warp in self.warps])
        self._kernels = _kernels(p)

    def num_frames(self, num_samples: int) -> int:
        """Frames of an utterance of ``num_samples`` samples."""
        return (2 * num_samples + self.hop) // (2 * self.hop)

    def spectra(self, waveform: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        """Bands ``(num_spectra, num_bands)`` in units of 10 dB, 0 the loudest, and 1 where there is speech, else 0."""
        p = self.parameters
        bands = self._log_power(torch.from_numpy(waveform).double())
        bands = (bands - bands.max()) / math.log(10)
        weights = (bands.amax(dim=1) > -p.speech_db / 10).double()
        return bands.clamp_(min=-p.floor_db / 10), weights

    def cepstra(self, bands: torch.Tensor) -> torch.Tensor:
        """Mel bands to cepstra, ``(num_warps, num_spectra, num_cepstra)``."""
        return bands @ self._to_cepstra

    def frames(
        self,
        bands: torch.Tensor,
        weights: torch.Tensor,
        corpus_mean: torch.Tensor,
        num_frames: int,
        warp: int | None = None,
        step: int = 1,
    ) -> Iterator[torch.Tensor]:
        """Features ``(num_warps, frames, 2 * num_cepstra)`` of one block of frames after another.

        Cepstra less their mean over the speech of the utterance (and a share of ``corpus_mean``), then their rates of
        change. ``warp`` asks for one alone, ``step`` is from one frame to the next.
        """
        p = self.parameters
        chosen = slice(None) if warp is None else slice(warp, warp + 1)
        to_cepstra = self._to_cepstra[chosen]
        prior = p.mean_prior_sec * p.sample_rate_hz / self.spectrum_hop
        speech_sum = (weights @ bands) @ to_cepstra  # (num_warps, num_cepstra)
        mean = p.mean_share * (speech_sum + prior * corpus_mean) / (weights.sum() + prior)
        stride, reach = p.spectra_per_frame * step, self._kernels.shape[1] // 2
        for start in range(0, num_frames, _BLOCK_FRAMES * step):
            frames = torch.arange(start, min(start + _BLOCK_FRAMES * step, num_frames), step)
            middle = frames * p.spectra_per_frame + p.spectra_per_frame // 2
            needed = torch.arange(int(middle[0]) - reach, int(middle[-1]) + reach + 1).clamp(0, len(bands) - 1)
            windows = bands[needed].unfold(0, 2 * reach + 1, stride)  # (frames, num_bands, width)
            # filtered over time first, on fewer bands than there are cepstra of all warps
            smooth = (windows @ self._kernels.T).permute(2, 0, 1)[:, None]  # (2, 1, frames, num_bands)
            cepstra = smooth @ to_cepstra  # (2, num_warps, frames, num_cepstra)
            cepstra[0] -= mean[:, None]
            yield cepstra.permute(1, 2, 0, 3).flatten(2)

    def _log_power(self, waveform: torch.Tensor) -> torch.Tensor:
        """Natural log of the power in mel bands ``(num_spectra, num_bands)``.

        Spectrum ``i`` is centred at sample ``i * spectrum_hop``. In blocks: a long utterance needs little memory.
        """
        hop = self.spectrum_hop
        padded = torch.nn.functional.pad(waveform, (_N_FFT // 2, _N_FFT // 2))
        pieces = padded.unfold(0, _N_FFT, hop)  # (num_spectra, n_fft), a view
        blocks = []
        for block in pieces.split(_BLOCK_FRAMES):
            spectrum = torch.fft.rfft(block * self._window)
            power = spectrum.real.square() + spectrum.imag.square()
            blocks.append((power @ self._filters).clamp_(min=_SILENCE).log_())
        return torch.cat(blocks)


def parameters_from(values: Mapping[str, Any], where: str) -> MelKMeansParameters:
    """Parameters from plain values.

    Raises:
        UserError: an unknown name, a wrong type, or a number that makes no sense.
    """
    fields = {name: type(value) for name, value in dataclasses.asdict(MelKMeansParameters()).items()}
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"{where}: unknown parameter {name}; known: {', '.join(fields)}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (fields[name] is int and value != int(value)):
            raise UserError(f"{where}: {name} must be of type {fields[name].__name__}, is {value!r}")
        typed[name] = fields[name](value)
    parameters = MelKMeansParameters(**typed)
    _check(parameters, where)
    return parameters


def _check(p: MelKMeansParameters, where: str) -> None:
    hop = p.sample_rate_hz / p.frame_rate_hz if p.frame_rate_hz > 0 else 0.0
    half_rate = p.sample_rate_hz / 2
    sizes = (p.floor_db, p.speech_db, p.mean_prior_sec, p.delta_weight, p.change_penalty)
    rules = {
        "frame_rate_hz must divide sample_rate_hz into whole frames": hop >= 1 and hop == int(hop),
        "spectra_per_frame must divide a frame into whole samples": p.spectra_per_frame
        > 0
        == hop % p.spectra_per_frame,
        "f_min_hz and f_max_hz must lie between 0 and half of sample_rate_hz": 0
        <= p.f_min_hz
        < p.f_max_hz
        <= half_rate,
        "num_cepstra must lie between 1 and num_bands": 1 <= p.num_cepstra <= p.num_bands,
        "context must be odd and delta_span at least 1": p.context >= 1 and p.context % 2 == 1 and p.delta_span >= 1,
        "floor_db, speech_db, mean_prior_sec, delta_weight and change_penalty must not be negative": min(sizes) >= 0,
        "warp_range must lie between 0 and 0.5, num_warps be odd": 0 <= p.warp_range <= 0.5 and p.num_warps % 2 == 1,
        "warp_step must be at least 1": p.warp_step >= 1,
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


def _warps(p: MelKMeansParameters) -> list[float]:
    """Factors of the frequencies, the straight one in the middle."""
    if p.warp_range == 0 or p.num_warps == 1:
        return [1.0]
    return [float(1 + share) for share in np.linspace(-p.warp_range, p.warp_range, p.num_warps)]


def _warp_matrix(p: MelKMeansParameters, filters: torch.Tensor, warp: float) -> torch.Tensor:
    """Read each mel band at ``warp`` times its frequency, between the nearest two: (num_bands, num_bands)."""
    frequencies_hz = np.linspace(0, p.sample_rate_hz / 2, len(filters))
    centres = frequencies_hz @ filters.numpy() / filters.numpy().sum(0)
    position = np.interp(centres * warp, centres, np.arange(p.num_bands))
    below = np.minimum(position.astype(int), p.num_bands - 2)
    matrix = np.zeros((p.num_bands, p.num_bands))
    matrix[below, np.arange(p.num_bands)] = 1 - (position - below)
    matrix[below + 1, np.arange(p.num_bands)] += position - below
    return torch.from_numpy(matrix)


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
