"""Cepstra of a log-mel spectrum at the frame rate of a speech tokenizer, made independent of the voice.

Levels count from the loudest point of the utterance; its mean cepstrum over speech is taken off; the rate of change of
the cepstra counts beside the cepstra themselves; and the features are made for several stretches of the
frequencies, as by vocal tracts of other lengths. Everything runs in double precision on one utterance at a time, so
that neighbours, batch sizes and threads do not change a unit.

Frames: an utterance of ``n`` samples has ``round(n / hop)`` of them (halves up), hop = 160 at 100 Hz; frame ``t``
stands for the samples ``t * hop`` to ``(t + 1) * hop``. Less than one hop is too short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.log_mel import mel_filters
from cslm.codecs.mel_parameters import MelKMeansParameters
from cslm.errors import UserError

_N_FFT = 512
_BLOCK_FRAMES = 4096  # what is computed at a time of a long utterance
_SILENCE = 1e-10  # power in a band that counts as none
_FULL_SCALE = 2 * math.log(_N_FFT / 8)  # about the power of a loud voice in its loudest band


class MelFeatures:
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

    @property
    def reach_samples(self) -> int:
        """Samples before and behind a frame that its features are made of, where levels and means are fixed."""
        return self._kernels.shape[1] // 2 * self.spectrum_hop + _N_FFT // 2 + self.hop

    def spectra(self, waveform: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        """Bands ``(num_spectra, num_bands)`` in units of 10 dB, 0 the loudest, and 1 where there is speech, else 0."""
        p = self.parameters
        bands = self._log_power(torch.from_numpy(waveform).double())
        loudest = _FULL_SCALE if p.fixed_level else bands.max()
        bands = (bands - loudest) / math.log(10)
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
