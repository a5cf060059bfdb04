"""Batches for the decoder: random crops as a pure function of (seed, position), on any number of processes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cslm.batches.micro_batch import StepBatch
from cslm.codecs.units import Units
from cslm.decoder.crop_batch import CropBatch
from cslm.decoder.decoder_data import DecoderData
from cslm.decoder.speech_decoder import GROUPS, VOCODER_GROUP
from cslm.decoder.time_grid import TimeGrid

_ORDER, _CROP = 0, 1  # what a random generator is for
_OF_SOUND = ("waveform", "source")


@dataclass(frozen=True)
class Crop:
    """A window of one utterance."""

    draw: int
    """number of the draw since the start of training: seeds its noise"""
    utterance: int
    first_mel_frame: int
    num_mel_frames: int


class DecoderStream:
    """Crops of random utterances: every utterance once in an epoch, the window drawn anew each time."""

    def __init__(
        self,
        data: DecoderData,
        grid: TimeGrid,
        crop_frames: int,
        crops_per_step: int,
        crops_per_micro: int,
        seed: int,
        vocoder_every: int = 1,
    ) -> None:
        """Make a stream.

        Args:
            crop_frames: spectrogram frames of a window; shorter utterances are taken whole.
            crops_per_step: over all processes.
            crops_per_micro: in one micro-batch.
            vocoder_every: the vocoder learns from one window of so many.
        """
        assert min(crop_frames, crops_per_step, crops_per_micro, vocoder_every) > 0, "an empty step"
        self.data, self.grid, self.seed = data, grid, seed
        self.crop_frames, self.crops_per_step, self.crops_per_micro = crop_frames, crops_per_step, crops_per_micro
        self._vocoder_every = vocoder_every
        self._num_mel_frames = data.mels.num_frames
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)

    @property
    def groups(self) -> tuple[str, ...]:
        """What losses are reported by."""
        return (*GROUPS, VOCODER_GROUP) if self.data.mels.samples_a_frame else GROUPS

    def step(self, position: Mapping[str, Any], rank: int, world_size: int) -> StepBatch:
        """The batch at ``position``: ``{}`` at the start, then what the step before returned."""
        first = int(position.get("draw", 0))
        crops = [self.crop(draw) for draw in range(first, first + self.crops_per_step)]
        parts = [crops[i : i + self.crops_per_micro] for i in range(0, len(crops), self.crops_per_micro)]
        parts += [[] for _ in range(-len(parts) % world_size)]
        num_mel_frames = sum(crop.num_mel_frames for crop in crops)
        return StepBatch(
            micro_batches=[self._micro_batch(part) for part in parts[rank::world_size]],
            position={"draw": first + self.crops_per_step},
            consumed={"decoder": num_mel_frames},
            counts={"mel_frames": num_mel_frames, **self._sound_counts(crops)},
        )

    def crop(self, draw: int) -> Crop:
        """The window of one draw."""
        epoch, place = divmod(draw, len(self.data.rows))
        utterance = int(self._order(epoch)[place])
        total = int(self._num_mel_frames[utterance])
        length = min(self.crop_frames, total)
        first = int(np.random.default_rng([self.seed, _CROP, draw]).integers(total - length + 1))
        return Crop(draw, utterance, first, length)

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.data.rows))

    def _sound_counts(self, crops: list[Crop]) -> dict[str, int]:
        num_frames = sum(crop.num_mel_frames for crop in crops if self._sounds(crop))
        return {"sound_frames": num_frames} if self.data.mels.samples_a_frame else {}

    def _sounds(self, crop: Crop) -> bool:
        """Whether the vocoder learns from it: of a step always one at least."""
        every = min(self._vocoder_every, self.crops_per_step)
        return self.data.mels.samples_a_frame > 0 and crop.draw % every == 0

    def _micro_batch(self, crops: list[Crop]) -> CropBatch:
        """Crops padded to one batch; without crops, one item of padding alone."""
        items = [self._item(crop) for crop in crops] or [self._nothing()]
        sounding = [place for place, crop in enumerate(crops) if self._sounds(crop)]
        lengths = [crops[place].num_mel_frames for place in sounding]
        sounds = [items[place] for place in sounding or [0]]
        batch = {name: _stack([item[name] for item in items]) for name in items[0] if name not in _OF_SOUND}
        num_frames = batch["mel"].shape[1]
        batch |= {
            name: _longer(_stack([item[name] for item in sounds])[:, :num_frames], num_frames) for name in _OF_SOUND
        }
        return CropBatch(sounding=torch.tensor(sounding or [0]), num_sound_frames=torch.tensor(lengths or [0]), **batch)

    def _item(self, crop: Crop) -> dict[str, Tensor]:
        units = self.data.store.row(int(self.data.rows[crop.utterance])).units
        durations = np.ones(len(units), np.int64) if units.durations is None else units.durations
        positions = self.grid.positions(crop.first_mel_frame, crop.num_mel_frames, durations)
        # every row that the window touches, with its whole duration
        first, stop = int(positions[0]), min(len(units), int(positions[-1]) + 1)
        window = Units(units.ids[first:stop], durations[first:stop])
        mel = self.data.mels.read(crop.utterance, crop.first_mel_frame, crop.num_mel_frames)
        generator = np.random.default_rng([self.seed, _CROP, crop.draw, 1])
        waveform = np.zeros((0, self.data.mels.samples_a_frame), np.float32)
        if self._sounds(crop):
            waveform = self.data.mels.read_waveform(crop.utterance, crop.first_mel_frame, crop.num_mel_frames)
        voice = int(self.data.voices[crop.utterance])
        return self._tensors(window, voice, mel, positions - first, waveform, generator)

    def _nothing(self) -> dict[str, Tensor]:
        units = Units(np.zeros((0, len(self.data.store.codebook_sizes)), np.int64), np.zeros(0, np.int64))
        mel = np.zeros((0, len(self.data.mels.mean)), np.float32)
        waveform = np.zeros((0, self.data.mels.samples_a_frame), np.float32)
        return self._tensors(units, 0, mel, np.zeros(0), waveform, np.random.default_rng(0))

    @staticmethod
    def _tensors(
        units: Units,
        voice: int,
        mel: NDArray[np.float32],
        positions: NDArray[np.float64],
        waveform: NDArray[np.float32],
        generator: np.random.Generator,
    ) -> dict[str, Tensor]:
        assert units.durations is not None, "a window knows how long its units last"
        arrays = {
            "units": units.ids.astype(np.int64),
            "num_units": np.int64(len(units)),
            "durations": units.durations.astype(np.int64),
            "voices": np.int64(voice),
            "mel": mel,
            "num_mel_frames": np.int64(len(mel)),
            "positions": positions.astype(np.float32),
            "noise": generator.standard_normal(mel.shape, dtype=np.float32),
            "times": np.float32(generator.random()),
            "waveform": waveform,
            "source": generator.standard_normal(waveform.shape, dtype=np.float32),
        }
        return {name: torch.as_tensor(value) for name, value in arrays.items()}


def _longer(value: Tensor, length: int) -> Tensor:
    """``(batch, time, width)`` with zeros behind it up to a length; older PyTorch pads no width of 0."""
    return torch.cat([value, value.new_zeros(len(value), length - value.shape[1], value.shape[2])], dim=1)


def _stack(values: list[Tensor]) -> Tensor:
    """Scalars to (batch,), others padded with zeros to (batch, longest, ...), at least one step long."""
    if values[0].dim() == 0:
        return torch.stack(values)
    padded = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
    return padded if padded.shape[1] else padded.new_zeros(len(values), 1, *padded.shape[2:])
