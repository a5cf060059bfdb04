"""The speech decoder: merged units of a language model to a waveform (CSLM section 3.1, appendix D)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from cslm.codecs.fingerprint import check_fingerprint
from cslm.codecs.units import Units
from cslm.decoder.convolution import length_mask
from cslm.decoder.crop_batch import CropBatch
from cslm.decoder.decoder_config import DecoderCard
from cslm.decoder.duration import DurationPredictor, duration_loss, whole_frames
from cslm.decoder.flow_matching import FlowMatching, UnitEncoder
from cslm.decoder.frame_noise import NORMAL, frame_noise
from cslm.decoder.harmonic_vocoder import vocoder_errors
from cslm.decoder.time_grid import TimeGrid
from cslm.decoder.vocoders import make_vocoder
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.model.objective import GroupReport, Objective, Term

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
GROUPS = ("decoder/mean", "decoder/flow", "decoder/duration")
"""what losses are reported by: errors of spectrogram frames, twice, and of merged units"""
VOCODER_GROUP = "decoder/vocoder"
"""one more where the vocoder is trained: distances of spectra, pitch and voicing, by spectrogram frames"""
DURATION_WEIGHT = 3.0
"""of the error of durations: summed over merged units and divided by spectrogram frames, of which a unit lasts a few"""
VOCODER_WEIGHT = 0.05
"""of a vocoder that is trained: it shares no weights with the other nets, but the gradient's norm, by which all is
clipped. Its own is ten times theirs: with a weight of 1 they were at step 400 where else they are at step 250. How fast
the vocoder learns does not hang on it: Adam's steps have no scale"""

_MEL_FRAMES_AT_ONCE = 4096  # decoded together: 48 s, so that the spectra stay small


class SpeechDecoder(nn.Module):
    """Duration predictor, unit encoder, flow matching and vocoder, with one voice a language."""

    def __init__(self, card: DecoderCard) -> None:
        super().__init__()
        config = card.decoder
        self.card = card
        self.grid = TimeGrid(card.frame_rate_hz, config.sample_rate_hz, config.hop_length)
        sizes, num_voices = card.codebook_sizes, len(card.voices)
        self.durations = DurationPredictor(sizes, num_voices, config.duration_width, config.duration_kernel_size)
        self.encoder = UnitEncoder(
            sizes,
            num_voices,
            config.num_bands,
            config.num_subframes,
            config.width,
            config.num_blocks,
            config.condition_width,
            config.num_condition_blocks,
        )
        self.flow = FlowMatching(config.num_bands, config.condition_width, config.flow_width, config.num_flow_blocks)
        self.vocoder: Any = make_vocoder(config, card.vocoder)
        self.register_buffer("mel_mean", torch.zeros(config.num_bands))
        self.register_buffer("mel_deviation", torch.ones(config.num_bands))

    mel_mean: Tensor
    mel_deviation: Tensor

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of what ``decode`` returns."""
        return self.card.decoder.sample_rate_hz

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the speech tokenizer whose units it understands."""
        return self.card.fingerprint

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the voices."""
        return self.card.voices

    def forward(self, batch: CropBatch) -> Objective:
        """Errors of mean, flow and durations, and of a vocoder that learns: means over spectrogram frames."""
        mel_mask = length_mask(batch.num_mel_frames, batch.mel.shape[1])
        mel = (batch.mel - self.mel_mean) / self.mel_deviation
        condition, mean = self.encoder(
            batch.units, batch.durations, batch.num_units, batch.voices, batch.positions, mel_mask
        )
        mean_errors = (mel - mean).abs().mean(dim=-1)
        flow_errors = self.flow.errors(
            mel - mean.detach(), batch.noise, batch.times, condition, mean.detach(), mel_mask
        )
        weights = mel_mask.squeeze(-1)
        mean_sum, flow_sum = (mean_errors * weights).sum(), (flow_errors * weights).sum()
        duration_sum, correct = self._duration_loss(batch)
        terms = {
            "mean": Term(mean_sum, "mel_frames"),
            "flow": Term(flow_sum, "mel_frames"),
            "duration": Term(duration_sum, "mel_frames", DURATION_WEIGHT),
        }
        num_mel_frames, num_units = weights.sum(), batch.num_units.sum().float()
        sums, counts = [mean_sum, flow_sum, duration_sum], [num_mel_frames, num_mel_frames, num_units]
        right = [torch.zeros_like(correct), torch.zeros_like(correct), correct]
        if self.vocoder.is_trained:
            sound_mask = length_mask(batch.num_sound_frames, batch.mel.shape[1])
            true = batch.mel[batch.sounding] * sound_mask
            errors = vocoder_errors(self.vocoder, true, batch.waveform, sound_mask, batch.source)
            terms["vocoder"] = Term((errors * sound_mask.squeeze(-1)).sum(), "sound_frames", VOCODER_WEIGHT)
            sums, counts = [*sums, terms["vocoder"].sum], [*counts, sound_mask.sum()]
            right = [*right, torch.zeros_like(correct)]
        return Objective(terms, GroupReport(torch.stack(sums).detach(), torch.stack(counts), torch.stack(right)))

    def _duration_loss(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """Summed over units, and how many rounded durations are right."""
        mask = length_mask(batch.num_units, batch.units.shape[1])
        predicted = self.durations(batch.units, batch.voices, mask)
        right = predicted.detach().exp().round().clamp(min=1) == batch.durations
        trained = mask.squeeze(-1)
        return duration_loss(predicted, batch.durations, trained), (right & (trained > 0)).sum().float()

    def decode(self, units: Units, voice: str, generator: torch.Generator | None = None) -> NDArray[np.float32]:
        """The waveform (num_samples,) of ``units`` in a voice; see :meth:`decode_batch`."""
        return self.decode_batch([units], [voice], generator)[0]

    @torch.inference_mode()
    def decode_batch(
        self, units: Sequence[Units], voices: Sequence[str], generator: torch.Generator | None = None
    ) -> list[NDArray[np.float32]]:
        """Waveforms, float32 in [-1, 1] at ``sample_rate_hz``, one for each item; no units, no samples.

        An item sounds the same whatever its neighbours are, up to rounding.

        Args:
            units: units with durations keep their time. Units of one codebook without durations are taken as merged
                and get predicted ones; of several codebooks, as one row a frame.
            voices: a name of ``self.voices`` for each item.
            generator: draws one seed for each item; without it every item uses seed 0, so that the same units give
                the same samples.

        Raises:
            UserError: an unknown voice, or units that do not fit the codebooks.
        """
        assert len(units) == len(voices), "one voice an item"
        indices = [self.voice_index(voice) for voice in voices]
        for item in units:
            self.check_units(item)
        seeds = [0] * len(units)
        if generator is not None:
            seeds = torch.randint(2**62, (len(units),), generator=generator).tolist()
        durations = self._durations_of(units, indices)
        num_frames = [int(lasting.sum()) for lasting in durations]
        waveforms: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(units)
        for chosen in _groups_of_similar_length([self.grid.num_mel_frames(total) for total in num_frames]):
            lasting = [Units(units[i].ids, durations[i]) for i in chosen]
            drawn = [seeds[index] for index in chosen]
            mel, lengths = self._log_mel(lasting, [indices[i] for i in chosen], drawn)
            sound = self.vocoder(mel, lengths, drawn)[0].clamp(-1, 1).float().cpu().numpy()
            for row, index in enumerate(chosen):
                waveforms[index] = sound[row, : self.grid.num_samples(num_frames[index])].copy()
        return waveforms

    def predict_durations(self, units: Units, voice: str) -> Units:
        """The same units with predicted durations (frames, at least 1); of several codebooks a row lasts one frame."""
        self.check_units(units)
        index = self.voice_index(voice)
        with torch.inference_mode():
            return Units(units.ids, self._durations_of([Units(units.ids)], [index])[0])

    def save_pretrained(self, folder: str | os.PathLike[str], weights: dict[str, Tensor] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``; the configuration last, so a folder with it is whole."""
        tensors = self.state_dict() if weights is None else weights
        tensors = {name: tensors[name].detach().cpu().float().contiguous() for name in sorted(tensors)}
        write_atomically(Path(folder) / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
        write_atomically(Path(folder) / CONFIG_FILE, self.card.to_json().encode("utf-8"))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], fingerprint: str | None = None, fingerprint_where: str = "the units"
    ) -> SpeechDecoder:
        """Open a saved decoder, ready to decode.

        Args:
            folder: what ``save_pretrained`` wrote.
            fingerprint: of the speech tokenizer whose units will be decoded; checked where given.
            fingerprint_where: what has that fingerprint, for the message.

        Raises:
            UserError: no decoder there, damaged weights, or another speech tokenizer's.
        """
        card = DecoderCard.read(Path(folder) / CONFIG_FILE)
        if fingerprint is not None:
            check_fingerprint(fingerprint, card.fingerprint, fingerprint_where, f"the speech decoder {folder}")
        decoder = cls(card)
        file = Path(folder) / WEIGHTS_FILE
        try:
            decoder.load_state_dict(load_file(file))
        except (FileNotFoundError, SafetensorError, RuntimeError) as error:
            raise UserError(f"{file} cannot be read or does not fit its {CONFIG_FILE}: {error}") from None
        return decoder.eval()

    def _durations_of(self, units: Sequence[Units], voices: Sequence[int]) -> list[NDArray[np.int64]]:
        """The frames that each row lasts, for every item; where they are missing, predicted."""
        merged = len(self.card.codebook_sizes) == 1
        missing = [i for i, item in enumerate(units) if merged and item.durations is None]
        durations = [
            np.ones(len(item), np.int64) if item.durations is None else item.durations.astype(np.int64)
            for item in units
        ]
        for chosen in _groups_of_similar_length([len(units[i]) for i in missing]):
            picked = [missing[i] for i in chosen]
            predicted = self._predict([units[i] for i in picked], [voices[i] for i in picked])
            for index, found in zip(picked, predicted, strict=True):
                durations[index] = found
        return durations

    def _predict(self, units: Sequence[Units], voices: Sequence[int]) -> list[NDArray[np.int64]]:
        ids, lengths = self._pad([torch.from_numpy(item.ids.astype(np.int64)) for item in units])
        mask = length_mask(lengths, ids.shape[1]).double()
        logs = self.durations.in_double()(ids, self._tensor(voices), mask).cpu()
        rate_hz = self.grid.frame_rate_hz
        return [whole_frames(row[: len(item)], rate_hz)[0].numpy() for row, item in zip(logs, units, strict=True)]

    def _log_mel(self, units: list[Units], voices: list[int], seeds: list[int]) -> tuple[Tensor, list[int]]:
        """Natural log-mel (batch, mel frames, bands) of units with durations, and the mel frames of each item."""
        lasting = [item.durations for item in units if item.durations is not None]
        mel_lengths = [self.grid.num_mel_frames(int(item.sum())) for item in lasting]
        positions = np.stack([self.grid.positions(0, max(mel_lengths), item) for item in lasting])
        return self.log_mel(units, voices, positions, mel_lengths, seeds), mel_lengths

    def log_mel(
        self,
        units: Sequence[Units],
        voices: Sequence[int],
        positions: NDArray[np.float64],
        mel_lengths: Sequence[int],
        seeds: Sequence[int],
        first_mel_frame: int = 0,
    ) -> Tensor:
        """Natural log-mel (batch, mel frames, bands) of units with durations, or of a window of an utterance.

        Args:
            voices: index of each item's.
            positions: (batch, mel frames) where each frame lies among the rows of its item.
            mel_lengths: frames of each item that are not padding.
            seeds: one an item, for the noise, which is that of the frames.
            first_mel_frame: of the utterance, with which the window begins.
        """
        config, device = self.card.decoder, self.mel_mean.device
        ids, lengths = self._pad([torch.from_numpy(item.ids.astype(np.int64)) for item in units])
        durations, _ = self._pad([torch.from_numpy(item.durations) for item in units if item.durations is not None])
        num_frames = positions.shape[1]
        mel_mask = length_mask(self._tensor(mel_lengths), num_frames).to(self.mel_mean)
        places = torch.from_numpy(positions).to(device)
        condition, mean = self.encoder(ids, durations, lengths, self._tensor(voices), places, mel_mask)
        noise = torch.zeros(len(units), num_frames, config.num_bands)
        for row, (seed, length) in enumerate(zip(seeds, mel_lengths, strict=True)):
            noise[row, :length] = frame_noise(seed, NORMAL, first_mel_frame, length, config.num_bands)
        start = noise.to(mean) * config.temperature
        mel = mean + self.flow.sample(start, condition, mean, mel_mask, config.num_flow_steps)
        return mel * self.mel_deviation + self.mel_mean

    @property
    def mel_reach(self) -> int:
        """Spectrogram frames on each side that a frame depends on, beyond the units at its own place."""
        config = self.card.decoder
        return config.num_condition_blocks + config.num_flow_blocks * config.num_flow_steps

    def voice_index(self, voice: str) -> int:
        """The number of a voice.

        Raises:
            UserError: there is none of that name.
        """
        if voice not in self.card.voices:
            raise UserError(f"this speech decoder has no voice {voice!r}, only {', '.join(self.card.voices)}")
        return self.card.voices.index(voice)

    def check_units(self, units: Units) -> None:
        """Make sure that units are of the codebooks.

        Raises:
            UserError: they are not.
        """
        sizes = self.card.codebook_sizes
        if units.num_codebooks != len(sizes):
            raise UserError(f"these units have {units.num_codebooks} codebooks, the speech decoder knows {len(sizes)}")
        if len(units) and ((units.ids < 0).any() or (units.ids >= np.array(sizes)).any()):
            raise UserError(f"a unit lies outside the codebooks of the speech decoder (sizes {sizes})")

    def _pad(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Items (rows, ...) to (batch, longest, ...) filled with 0, and their lengths (batch,)."""
        padded = nn.utils.rnn.pad_sequence(items, batch_first=True)
        return padded.to(self.mel_mean.device), self._tensor([len(item) for item in items])

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=self.mel_mean.device)


def _groups_of_similar_length(lengths: list[int]) -> Iterator[list[int]]:
    """Indices of items that are not empty, from long to short, in groups of at most ``_MEL_FRAMES_AT_ONCE`` in all."""
    order = sorted((i for i, length in enumerate(lengths) if length), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, _MEL_FRAMES_AT_ONCE // lengths[order[start]])
        yield order[start : start + size]
        start += size
