"""From log-mel to a waveform by short-time spectra: harmonics and noise, shaped by a small net, then an inverse STFT.

A net of convolutions alone cannot write the phase of a steady tone, which goes on turning while its log-mel stands
still. So pitch is predicted, an oscillator turns at that pitch (the carried phase), and the net only says how loud
harmonics and noise are in every bin, starting from the inverted mel filters. As in DDSP (Engel et al. 2020) the sound
is learnt through spectra at several resolutions; as in iSTFTNet (Kaneko et al. 2022) an inverse STFT makes the
samples. Spectra that overlap do not add up to what each of them was meant to be. So the bands of the sound are
measured and set right, some times, as Griffin-Lim does with magnitudes; here the phases are good before. What a sample
depends on is bounded but for the oscillator, whose phase is one number to carry.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cslm.audio.log_mel import log_mel_of, magnitudes_of, mel_filters
from cslm.audio.pitch import HIGHEST_HZ, LOWEST_HZ, pitch
from cslm.decoder.convolution import ResidualConvolution, length_mask
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.frame_noise import NORMAL, frame_noise

_LOUDEST = 4.0  # e-folds that the net may move a bin up or down
_QUIETEST = 1e-5
_SPREAD_SEC = 0.006  # how much later the highest band sounds
_KNEE = 0.8  # samples beyond are pressed together, so that none is cut off
_MOST_CORRECTED = 2.0  # e-folds of a band at a time


class HarmonicVocoder(nn.Module):
    """Natural log-mel magnitudes to waveforms; trained with the rest of the decoder."""

    is_trained = True

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.hop_length, self.length = config.hop_length, config.n_fft
        self.sample_rate_hz, self.lead = config.sample_rate_hz, 2 * config.num_vocoder_blocks
        self.num_corrections = config.num_vocoder_corrections
        width, num_bins = config.vocoder_width, config.n_fft // 2 + 1
        self.inputs = nn.Linear(config.num_bands, width)
        self.blocks = nn.ModuleList(ResidualConvolution(width, 5) for _ in range(config.num_vocoder_blocks))
        self.norm = nn.LayerNorm(width)
        self.pitch = nn.Linear(width, 2)
        self.gains = nn.Linear(width, 2 * num_bins)
        nn.init.zeros_(self.gains.weight)
        nn.init.constant_(self.gains.bias, math.log(0.5))
        filters = mel_filters(config.sample_rate_hz, config.n_fft, config.num_bands, config.f_min, config.f_max)
        self.register_buffer("inverse", torch.linalg.pinv(filters), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("shares", filters.T / filters.sum(dim=1).clamp(min=_QUIETEST), persistent=False)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        hz = torch.fft.rfftfreq(config.n_fft, 1 / config.sample_rate_hz)
        angles = -math.pi * _SPREAD_SEC * hz.square() / config.f_max
        self.register_buffer("spread", torch.polar(torch.ones_like(angles), angles), persistent=False)

    inverse: Tensor  # (bands, bins)
    filters: Tensor  # (bins, bands)
    shares: Tensor  # (bands, bins): of each band in a bin, 1 over all bands where there is one
    window: Tensor  # (n_fft,)
    spread: Tensor  # (bins,) complex, of magnitude 1

    @property
    def reach(self) -> int:
        """Frames on each side that a sample depends on: the net, the next pitch, each STFT with its inverse."""
        return self.lead + 1 + (1 + self.num_corrections) * (self.length // self.hop_length)

    def forward(
        self,
        log_mel: Tensor,
        lengths: list[int],
        seeds: list[int],
        first_frame: int = 0,
        carried: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :class:`~cslm.decoder.vocoders.Vocoder`; phases of the oscillator in turns are carried.

        Pitch is exact from frame ``lead`` of a window on, which is what the net reaches.
        """
        batch, num_frames, _ = log_mel.shape
        mask = length_mask(torch.tensor(lengths, device=log_mel.device), num_frames).to(log_mel)
        hz, _, gains = self.analyse(log_mel, mask)
        ends = torch.tensor(lengths, device=hz.device)[:, None] - 1
        hz = torch.where(mask[..., 0] > 0, hz, hz.gather(1, ends.clamp(min=0)))  # pitch goes to the next frame's
        start = 0 if carried is None else min(self.lead, num_frames - 1)
        phases = _phases(hz, self.hop_length / self.sample_rate_hz, start, carried)
        noise = torch.zeros(batch, num_frames, self.hop_length)
        for row, (seed, length) in enumerate(zip(seeds, lengths, strict=True)):
            noise[row, :length] = frame_noise(seed, _SOURCE, first_frame, length, self.hop_length)
        return self.sound(log_mel, hz, phases, gains, noise.to(log_mel), mask), phases

    def analyse(self, log_mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pitch in Hz (batch, frames), logits of being voiced (the same), and log gains (batch, frames, 2, bins)."""
        hidden = self.inputs((log_mel + 5.0) / 3.0)
        for block in self.blocks:
            hidden = block(hidden, mask)
        hidden = self.norm(hidden)
        height, voiced = self.pitch(hidden).unbind(-1)
        hz = LOWEST_HZ * torch.exp(torch.sigmoid(height) * math.log(HIGHEST_HZ / LOWEST_HZ))
        gains = self.gains(hidden).unflatten(-1, (2, -1))
        return hz, voiced, _LOUDEST * torch.tanh(gains / _LOUDEST)

    def sound(self, log_mel: Tensor, hz: Tensor, phases: Tensor, gains: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
        """Waveforms (batch, frames * hop_length) in [-1, 1].

        The harmonics of the oscillator all peak at once, louder than any voice. So high ones sound a little later.

        Args:
            hz, phases: (batch, frames) of the oscillator.
            gains: (batch, frames, 2, bins) logarithms, of harmonics and of noise.
            noise: (batch, frames, hop_length) standard normal.
            mask: (batch, frames, 1), 0 for frames behind the end of an item, which are silent.
        """
        deviation = self.window.square().sum().sqrt()  # of a source of power 1 in a bin
        envelope = (log_mel.exp() @ self.inverse).clamp(min=_QUIETEST) / deviation * mask
        harmonic = _oscillate(hz, phases, self.hop_length, self.sample_rate_hz).to(log_mel)
        harmonics, breath = (
            self.spectra((source * mask).flatten(1)) * (envelope * gains[:, :, place].exp())
            for place, source in enumerate((harmonic, noise))
        )
        waveform = self._waveform(harmonics * self.spread + breath)
        for _ in range(self.num_corrections):
            waveform = self._corrected(waveform, log_mel, mask)
        beyond = (waveform.abs() - _KNEE).clamp(min=0) / (1 - _KNEE)
        return waveform.clamp(-_KNEE, _KNEE) + waveform.sign() * (1 - _KNEE) * beyond.tanh()

    def log_mel_of(self, spectra: Tensor) -> Tensor:
        """Natural log-mel (batch, frames, bands) of spectra."""
        return log_mel_of(magnitudes_of(spectra), self.filters)

    def _corrected(self, waveform: Tensor, log_mel: Tensor, mask: Tensor) -> Tensor:
        """The waveform with each band of each frame as loud as it was wanted, its fine structure as it was."""
        spectra = self.spectra((waveform.unflatten(-1, (-1, self.hop_length)) * mask).flatten(1))
        missing = (log_mel - self.log_mel_of(spectra)).clamp(-_MOST_CORRECTED, _MOST_CORRECTED)
        return self._waveform(spectra * ((missing @ self.shares).exp() * mask))

    def spectra(self, waveform: Tensor) -> Tensor:
        """(batch, frames, bins) of waveforms (batch, frames * hop): frame ``m`` is centred at ``m * hop``."""
        padded = nn.functional.pad(waveform, (self.length // 2, self.length // 2 - self.hop_length))
        return torch.fft.rfft(padded.unfold(-1, self.length, self.hop_length) * self.window)

    def _waveform(self, spectra: Tensor) -> Tensor:
        frames = torch.fft.irfft(spectra, n=self.length) * self.window
        batch, num_frames, _ = frames.shape
        overlap = self.length // self.hop_length
        parts = frames.unflatten(-1, (overlap, self.hop_length))
        total = frames.new_zeros(batch, num_frames + overlap - 1, self.hop_length)
        for part in range(overlap):
            total = total + nn.functional.pad(parts[:, :, part], (0, 0, part, overlap - 1 - part))
        weight = self.window.square().view(overlap, self.hop_length).sum(dim=0)
        before = self.length // 2 // self.hop_length
        return (total / weight)[:, before : before + num_frames].flatten(1)


_SOURCE = NORMAL + 2  # a stream of numbers of its own


def _phases(hz: Tensor, hop_sec: float, start: int, carried: Tensor | None) -> Tensor:
    """Phases in turns at the centres of frames (batch, frames), in double precision: exact over many turns.

    Args:
        start: the frame whose phase is ``carried`` (batch,); those before it mean nothing.
    """
    turns = hz.double()
    steps = (turns[:, 1:] + turns[:, :-1]) / 2 * hop_sec
    phases = nn.functional.pad(steps, (1, 0)).cumsum(dim=1)
    phases = phases - phases[:, start : start + 1]
    return phases if carried is None else phases + carried[:, None]


def _oscillate(hz: Tensor, phases: Tensor, hop_length: int, sample_rate_hz: int) -> Tensor:
    """All harmonics below half the sample rate, equally loud, of power 1: (batch, frames, hop_length).

    Sample ``m * hop`` has the phase of frame ``m``; the pitch goes linearly from one frame to the next.
    """
    inside = torch.arange(hop_length, device=hz.device, dtype=torch.float64) / hop_length
    here = hz.double()[..., None]
    rise = torch.diff(here, dim=1, append=here[:, -1:])
    turned = phases[..., None] + hop_length / sample_rate_hz * (here * inside + rise * inside.square() / 2)
    count = torch.floor(sample_rate_hz / 2 / (here + rise.clamp(min=0)))
    angle = math.pi * (turned - turned.round())
    # the sum of cos(2 pi k x) for k from 1 to count, in closed form; near whole turns, by its limit
    below = angle.sin()
    near = below.abs() < 1e-6
    total = torch.where(near, count, (((2 * count + 1) * angle).sin() / below.masked_fill(near, 1.0) - 1) / 2)
    return total * torch.sqrt(2 / count)


def vocoder_errors(vocoder: HarmonicVocoder, log_mel: Tensor, waveform: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """What the vocoder gets wrong of true log-mel (batch, frames, bands): (batch, frames).

    Distances of log spectra at three resolutions, of log-mel, of the log of the pitch where there is one, and of being
    voiced.

    Args:
        waveform: (batch, frames, hop_length).
        mask: (batch, frames, 1).
        noise: as the waveform, standard normal.
    """
    sound = waveform.flatten(1)
    true_hz, periodicity = pitch(sound, vocoder.sample_rate_hz, vocoder.length, vocoder.hop_length)
    num_frames = log_mel.shape[1]
    true_hz, periodicity = true_hz[:, :num_frames], periodicity[:, :num_frames]
    hz, voiced, gains = vocoder.analyse(log_mel, mask)
    is_voiced = (periodicity > 0.6).to(log_mel)
    wrong_pitch = (hz.log() - true_hz.clamp(LOWEST_HZ, HIGHEST_HZ).log()).abs() * is_voiced * 4.0
    wrong_voice = nn.functional.binary_cross_entropy_with_logits(voiced, is_voiced, reduction="none")
    # the true pitch turns the oscillator: spectra teach loudness, and nothing wrong about pitch
    given = torch.where(is_voiced > 0, true_hz, hz.detach())
    phases = _phases(given, vocoder.hop_length / vocoder.sample_rate_hz, 0, None)
    made = vocoder.sound(log_mel, given, phases, gains, noise, mask)
    errors = wrong_pitch + 0.1 * wrong_voice + (vocoder.log_mel_of(vocoder.spectra(made)) - log_mel).abs().mean(dim=-1)
    for length in (512, 1024, 2048):
        errors = errors + _spectral_distance(made, sound, length, vocoder.hop_length, num_frames)
    return errors


def _spectral_distance(made: Tensor, true: Tensor, length: int, hop: int, num_frames: int) -> Tensor:
    """Mean over bins of the distance of log magnitudes, (batch, frames)."""
    window = torch.hann_window(length, device=made.device)
    made, true = (
        torch.stft(one, length, hop, window=window, pad_mode="constant", return_complex=True).abs()
        for one in (made, true)
    )
    floor = 1e-3 * window.sum() / 2
    distance = ((made + floor).log() - (true + floor).log()).abs().mean(dim=1)
    return distance[:, :num_frames]
