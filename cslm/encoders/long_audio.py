"""Recordings of any length through an encoder that takes a stretch at once: in pieces of one length, never cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.encoder import Encoder
from cslm.encoders.encoder_config import LongAudioConfig
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError


class LongAudioEncoder:
    """An encoder, and how much audio goes into it at once. It is an :class:`~cslm.encoders.encoder.Encoder` itself."""

    def __init__(self, encoder: Encoder, settings: LongAudioConfig, where: str) -> None:
        """Wrap ``encoder``.

        Raises:
            UserError: more at once than the encoder has positions for, or too little for a frame.
        """
        self.encoder, self.settings = encoder, settings
        self._most = round(settings.most_sec * encoder.sample_rate_hz)
        own: int | None = getattr(encoder, "max_num_samples", None)
        if own is not None and self._most > own:
            raise UserError(
                f"long_audio.most_sec is {settings.most_sec:g}, and {where} takes at most "
                f"{own / encoder.sample_rate_hz:g} s at once: lower it"
            )
        if self._most < 2 * encoder.min_num_samples:
            raise UserError(f"long_audio.most_sec is {settings.most_sec:g}, too short for {where}: raise it")

    @property
    def runtime(self) -> Runtime:
        """How the encoder runs."""
        return self.encoder.runtime

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return self.encoder.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.encoder.frame_rate_hz

    @property
    def dims(self) -> int:
        """Size of a frame."""
        return self.encoder.dims

    @property
    def min_num_samples(self) -> int:
        """The shortest waveform with a frame."""
        return self.encoder.min_num_samples

    def fault(self, num_samples: int) -> str | None:
        """What is wrong with the length of a recording, in words; None where it is heard."""
        seconds = num_samples / self.sample_rate_hz
        if num_samples < self.min_num_samples:
            return f"too short: {seconds:.4f} s, the encoder needs {self.min_num_samples / self.sample_rate_hz:.4f} s"
        longest = self.settings.longest_sec
        if longest is not None and seconds > longest:
            return f"too long: {seconds:.1f} s, long_audio.longest_sec is {longest:g}"
        if self.settings.beyond == "refuse" and num_samples > self._most:
            return f"too long: {seconds:.1f} s, long_audio.most_sec is {self.settings.most_sec:g}"
        return None

    def num_pieces(self, num_samples: int) -> int:
        """In how many pieces a recording is heard."""
        return max(1, -(-num_samples // self._most))

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording: of its pieces, joined."""
        if num_samples < self.min_num_samples:
            return 0
        return sum(self.encoder.num_frames(stop - start) for start, stop in self._pieces(num_samples))

    def _pieces(self, num_samples: int) -> list[tuple[int, int]]:
        """Where each begins and ends: all of one length, but for a sample."""
        ends = np.linspace(0, num_samples, self.num_pieces(num_samples) + 1).round().astype(np.int64).tolist()
        return list(pairwise(ends))

    def parameters(self) -> dict[str, Any]:
        """Those of the encoder, and the length of pieces."""
        return {**self.encoder.parameters(), "most_sec": self.settings.most_sec}

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Those of the encoder."""
        return self.encoder.tensors()

    def num_weights(self) -> int:
        """Numbers in these tensors."""
        return self.encoder.num_weights()

    def facts(self) -> dict[str, Any]:
        """Those of the encoder."""
        return self.encoder.facts()

    def __call__(
        self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Index and frames (num_frames, dims) of each waveform ``(num_samples,)``, in their order."""
        cut = [[one[start:stop] for start, stop in self._pieces(len(one))] for one in waveforms]
        found = dict(self.encoder([piece for pieces in cut for piece in pieces], batches))
        first = 0
        for index, pieces in enumerate(cut):
            parts = [found[number] for number in range(first, first + len(pieces))]
            first += len(pieces)
            yield index, torch.cat(parts) if len(parts) > 1 else parts[0]
