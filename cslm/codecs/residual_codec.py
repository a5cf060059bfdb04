"""What codecs with codebooks of their own share (``mimi``, ``speechtokenizer``): latents, and a code for each frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.codecs.card import Card
from cslm.codecs.codec import check_long_enough
from cslm.codecs.ready_made import ReadyMadeCodec
from cslm.codecs.units import Units
from cslm.encoders.audio_batches import AudioBatches, in_order
from cslm.encoders.runtime import Runtime


class ResidualCodec(ReadyMadeCodec, ABC):
    """Encodes by batches of latents; a family says what latents and codes are."""

    def __init__(self, card: Card, num_codebooks: int, runtime: Runtime) -> None:
        """A codec that takes so many codebooks, from the first on."""
        super().__init__(card, runtime)
        self.num_codebooks = num_codebooks

    @property
    @abstractmethod
    def frame_rate_hz(self) -> float:
        """Rows of units a second."""

    @property
    @abstractmethod
    def min_num_samples(self) -> int:
        """One frame."""

    @abstractmethod
    def _latents(self, waveforms: list[NDArray[np.float32]]) -> list[torch.Tensor]:
        """What is quantized (dims, num_frames), of each waveform."""

    @abstractmethod
    def _codes(self, latents: torch.Tensor) -> torch.Tensor:
        """Codes (num_codebooks, 1, num_frames) of latents (1, dims, num_frames)."""

    @abstractmethod
    def centroids(self) -> list[NDArray[np.float32]]:
        """The table (units, dims) of each codebook, in the space in which it compares."""

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None) -> list[Units]:
        """Units (num_frames, num_codebooks) of each waveform ``(num_samples,)``.

        Raises:
            UserError: a waveform shorter than ``min_num_samples``.
        """
        check_long_enough(waveforms, self.min_num_samples)
        batches = batches or AudioBatches(self.runtime.batch_sec)
        lengths = [-(-len(waveform) // self.min_num_samples) for waveform in waveforms]
        return in_order(batches.run(self._encode_batch, waveforms, lengths, self.frame_rate_hz))

    def _encode_batch(self, waveforms: list[NDArray[np.float32]]) -> list[Units]:
        codes = [self._codes(latents[None]) for latents in self._latents(waveforms)]
        return [Units(one[:, 0].T.cpu().numpy()) for one in codes]

    def _samples(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        """A waveform as a network takes it (1, 1, num_samples)."""
        samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
        return samples.to(self.runtime.device)[None, None]
