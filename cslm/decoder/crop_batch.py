"""The micro-batch of the decoder: windows of utterances, padded to the longest."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Windows with their units, their spectrograms and what is drawn for each. Nothing to learn is one empty window."""

    units: Tensor
    """int64 (batch, units, codebooks): merged units that the window touches, whole"""
    num_units: Tensor
    """int64 (batch,)"""
    durations: Tensor
    """int64 (batch, units): frames that each unit lasts"""
    voices: Tensor
    """int64 (batch,)"""
    mel: Tensor
    """float32 (batch, mel frames, bands)"""
    num_mel_frames: Tensor
    """int64 (batch,)"""
    positions: Tensor
    """float32 (batch, mel frames): where each mel frame lies in the units"""
    noise: Tensor
    """float32 (batch, mel frames, bands): where the flow starts"""
    times: Tensor
    """float32 (batch,): how far each has flowed, 0 to 1"""
    sounding: Tensor
    """int64 (sounding,): the windows that the vocoder learns from, one at least"""
    num_sound_frames: Tensor
    """int64 (sounding,): their spectrogram frames, 0 where there is nothing to learn from"""
    waveform: Tensor
    """float32 (sounding, mel frames, hop length): samples from the centre of each frame on; none without a vocoder"""
    source: Tensor
    """float32, the same shape: standard normal numbers, the noise that the vocoder shapes"""

    @property
    def num_slots(self) -> int:
        """Spectrogram frames, padding included."""
        return self.mel.shape[0] * self.mel.shape[1]

    def counts(self) -> dict[str, int]:
        """What a term may be a mean over: ``mel_frames``, and with a vocoder that learns ``sound_frames``."""
        counts = {"mel_frames": int(self.num_mel_frames.sum())}
        return counts | ({"sound_frames": int(self.num_sound_frames.sum())} if self.waveform.shape[-1] else {})

    def to(self, device: torch.device) -> CropBatch:
        """The same on a device."""
        names = [field.name for field in dataclasses.fields(self)]
        return CropBatch(**{name: getattr(self, name).to(device, non_blocking=True) for name in names})
