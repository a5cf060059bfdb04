"""The contract of a speech tokenizer (a *codec*): waveforms in, units out, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cslm.codecs.units import Units
from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError


def check_long_enough(waveforms: Sequence[NDArray[np.float32]], min_num_samples: int) -> None:
    """Make sure that every waveform has a frame.

    Raises:
        UserError: one has not.
    """
    for waveform in waveforms:
        if len(waveform) < min_num_samples:
            raise UserError(f"too short: {len(waveform)} samples, one frame has {min_num_samples}")


def no_vocoder(name: str) -> UserError:
    """What ``decode`` raises where the card ``name`` has no way back to sound."""
    return UserError(f"the card {name} has no vocoder: train a decoder on its units (recipes/train_decoder.py)")


class UnitCodec(Protocol):
    """What every family of speech tokenizers offers."""

    is_neural: bool
    """Runs a network: on an accelerator if there is one, and in batches, which may change units by rounding."""

    @property
    def runtime(self) -> Runtime:
        """How it runs."""

    @property
    def name(self) -> str:
        """Name on the card."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the units (``cslm.codecs.fingerprint``)."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that ``encode`` takes."""

    @property
    def frame_rate_hz(self) -> float:
        """Rows of units a second, before merging."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of units in each codebook."""

    @property
    def min_num_samples(self) -> int:
        """Shortest waveform that has units; a shorter one is refused as too short."""

    def encode(self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None) -> list[Units]:
        """Units, not merged, of each waveform ``(num_samples,)``, which never depend on its neighbours in the list.

        A family that batches does it with ``batches``, which also counts; by default with those of its ``runtime``.

        Raises:
            UserError: a waveform shorter than ``min_num_samples``.
        """

    def decode(self, units: Units) -> NDArray[np.float32]:
        """A waveform ``(num_samples,)`` of ``sample_rate_hz`` that sounds like the units.

        Raises:
            UserError: the card has no vocoder.
        """


class BoundedCodec(UnitCodec, Protocol):
    """A codec whose units depend on a part of the clip alone: they are known while the clip is still spoken."""

    @property
    def reach_samples(self) -> int | None:
        """Samples before and behind a frame that decide its units; None where the whole clip does.

        Frame ``t`` is samples ``t * hop`` to ``(t + 1) * hop``, and a clip has ``round(num_samples / hop)`` frames or
        fewer.
        """


def reach_of(codec: UnitCodec) -> int | None:
    """:attr:`BoundedCodec.reach_samples`; None for a codec that has none."""
    reach: int | None = getattr(codec, "reach_samples", None)
    return reach
