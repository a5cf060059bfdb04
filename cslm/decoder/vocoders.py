"""The vocoders of a speech decoder: what one is, and which there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from cslm.decoder.decoder_config import DecoderConfig
from cslm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Vocoder(Protocol):
    """What makes samples of log-mel magnitudes."""

    is_trained: bool
    """whether it learns with the rest of the decoder"""
    lead: int
    """frames into a window at which what is carried holds"""

    @property
    def reach(self) -> int:
        """Frames on each side that a sample depends on, beyond what is carried."""

    def __call__(
        self,
        log_mel: Tensor,
        lengths: list[int],
        seeds: list[int],
        first_frame: int = 0,
        carried: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Waveforms (batch, samples) of log-mel (batch, frames, bands), and what may be carried to a later window.

        Frame ``m`` is centred at ``m * hop_length``. What is carried is (batch, frames), or None.

        Args:
            lengths: frames of each item; what follows them is silent, or means nothing.
            seeds: one an item, of noise and phases, which are those of the frames.
            first_frame: of the utterance, with which ``log_mel`` begins.
            carried: (batch,) of frame ``lead`` of the window, by an earlier window; None at the start of an utterance.
        """


VOCODERS = {
    "griffin_lim": "cslm.decoder.griffin_lim_vocoder:GriffinLimVocoder",
    "hifigan": "cslm.decoder.hifigan_vocoder:HifiGanVocoder",
    "harmonic": "cslm.decoder.harmonic_vocoder:HarmonicVocoder",
}
"""Name (``decoder.vocoder``) to class. Imported only when used."""


def check_vocoder(name: str) -> None:
    """Make sure that there is a vocoder of a name.

    Raises:
        UserError: there is none.
    """
    if name not in VOCODERS:
        raise UserError(f"decoder.vocoder is {name!r}: choose one of {', '.join(VOCODERS)}")


def make_vocoder(config: DecoderConfig, shape: Mapping[str, Any] | None = None) -> Vocoder:
    """The vocoder that a configuration names, with new weights if it has any.

    Args:
        shape: of the net of one that others have trained.

    Raises:
        UserError: there is none of that name, or a shape that is missing or does not fit.
    """
    kind = _class_of(config)
    vocoder: Vocoder = kind(config) if shape is None else kind(config, shape)
    return vocoder


def is_trained(config: DecoderConfig) -> bool:
    """Whether the vocoder that a configuration names learns, from waveforms.

    Raises:
        UserError: there is none of that name.
    """
    trained: bool = _class_of(config).is_trained
    return trained


def _class_of(config: DecoderConfig) -> Any:
    check_vocoder(config.vocoder)
    module, name = VOCODERS[config.vocoder].split(":")
    return getattr(import_module(module), name)
