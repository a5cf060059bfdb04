"""What decides units besides tensors and a family's own parameters: the algorithm's version, and how audio comes in."""

from __future__ import annotations

import warnings
from typing import Any

from cslm.audio.waveform import RESAMPLER
from cslm.codecs.card import Card
from cslm.errors import UserError

_CHANNELS = "mean"  # of a file with several


def algorithm(version: int, resampler: str = RESAMPLER) -> dict[str, Any]:
    """The facts for the card and the fingerprint; ``version`` is that of the family's code."""
    return {"version": version, "channels": _CHANNELS, "resampler": resampler}


def without_algorithm(card: Card, version: int) -> tuple[dict[str, Any], str]:
    """A card's parameters without these facts, and its resampler; another than this machine's only warns, none is it.

    Raises:
        UserError: a card of another version of the family's code, or of another mixing of channels.
    """
    values = dict(card.parameters)
    for key, here in (("version", version), ("channels", _CHANNELS)):
        found = values.pop(key, None)
        if found != here:
            raise UserError(
                f"{card.path} has {key} {found!r}, this version of cslm {here!r}: install the other, or fit"
            )
    resampler = str(values.pop("resampler", RESAMPLER))
    if resampler != RESAMPLER:
        here_and_there = f"{resampler} on the card {card.path}, {RESAMPLER} in this installation"
        warnings.warn(f"resamplers differ, so a few units may: {here_and_there}", stacklevel=3)
    return values, resampler
