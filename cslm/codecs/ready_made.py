"""What families with published codebooks share: they are opened by a card, and there is nothing to fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from numpy.typing import NDArray

from cslm.codecs.card import Card
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError


class ReadyMadeCodec:
    """A codec of published weights. They stay where they are; the card names them, the fingerprint holds them."""

    family: str
    is_neural = True
    tensors: Mapping[str, NDArray[Any]] = MappingProxyType({})
    fingerprint: str

    def __init__(self, card: Card, runtime: Runtime) -> None:
        """What the card says of it; a family sets ``fingerprint`` when it has the weights."""
        self.name = card.name
        self.runtime = runtime
        self._card = card

    def card(self, origin: dict[str, Any] | None = None) -> Card:
        """The card that opened it, with the fingerprint of what was found."""
        origin = self._card.origin if origin is None else origin
        return dataclasses.replace(self._card, fingerprint=self.fingerprint, origin=origin, path=None)

    @classmethod
    def fittable(cls) -> NoReturn:
        """Always refuses."""
        raise UserError(f"the family {cls.family} has codebooks of its own: nothing to fit, use its card")
