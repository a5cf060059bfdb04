"""The contract of an encoder: waveforms in, vectors out, by a frozen network.

Codecs, alignment and speech prompts run encoders through this alone, so that any of them serves all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.runtime import Runtime


class Encoder(Protocol):
    """A frozen network from audio to one vector a frame: ``SslFeatures``, ``Fairseq2Features``."""

    @property
    def runtime(self) -> Runtime:
        """How it runs."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that it takes."""

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""

    @property
    def dims(self) -> int:
        """Size of a vector."""

    @property
    def min_num_samples(self) -> int:
        """The shortest waveform with a frame."""

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform; 0 of one shorter than ``min_num_samples``."""

    def parameters(self) -> dict[str, Any]:
        """What a card says of it, as plain values; what its class is opened with again, besides the weights."""

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights that are used, by names that do not depend on the version of a library."""

    def num_weights(self) -> int:
        """Numbers in these tensors; none of them is looked at."""

    def facts(self) -> dict[str, Any]:
        """What decides the vectors besides weights and ``parameters``, as plain values."""

    def __call__(
        self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Index and vectors (num_frames, dims) of each waveform ``(num_samples,)``, batch by batch, by length.

        Neighbours change nothing but rounding. ``batches`` makes the batches and counts them; by default they are those
        of ``runtime``. No waveform is shorter than ``min_num_samples``.
        """
