"""The contract of a family of speech tokenizers, beside that of its codecs (``cslm.codecs.codec``).

A family is one class, listed in ``cslm.codecs.families.FAMILIES``. The class is a ``CodecFamily``, its objects are
``CardCodec``; a class whose units are fitted on a corpus is a ``FittableFamily`` too. What a family does not have it
refuses in one line: nobody asks with ``hasattr``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cslm.codecs.card import Card
from cslm.codecs.codec import UnitCodec
from cslm.encoders.runtime import Runtime


class CardCodec(UnitCodec, Protocol):
    """A codec that a card brings back: ``save_card(codec.card(), path, codec.tensors)``, then ``load_codec(path)``."""

    @property
    def tensors(self) -> Mapping[str, NDArray[Any]]:
        """What travels beside the card; empty where all weights stay where they are published."""

    def card(self, origin: dict[str, Any] | None = None) -> Card:
        """The card of this codec, with its fingerprint. ``origin`` says where the codec comes from."""

    def centroids(self) -> list[NDArray[Any]]:
        """The table (units, dims) of each codebook, in the space in which it compares.

        Raises:
            UserError: the family keeps no tables.
        """


class CodecFamily(Protocol):
    """The class of a family."""

    family: str
    """Name of the family on its cards."""

    is_neural: bool
    """As of its codecs."""

    def from_card(self, card: Card, runtime: Runtime) -> CardCodec:
        """Open the codec of a card. Its fingerprint is checked by ``load_codec``.

        Raises:
            UserError: parameters, tensors or weights that are not there or do not fit, or a card of another version.
        """

    def fittable(self) -> FittableFamily:
        """The family itself, to fit a codec with.

        Raises:
            UserError: its codebooks are published, there is nothing to fit.
        """


class FittableFamily(CodecFamily, Protocol):
    """The class of a family whose units are fitted on a corpus."""

    def parameters_from(self, values: Mapping[str, Any], where: str) -> Any:
        """Parameters, an object of a frozen dataclass, from plain values; ``where`` is for errors.

        Raises:
            UserError: an unknown name, a wrong type or a value out of range.
        """

    def sample_rate_of(self, parameters: Any) -> int:
        """Rate of the waveforms that ``fit`` takes."""

    def fit(
        self,
        waveforms: Iterable[NDArray[np.float32]],
        *,
        name: str,
        parameters: Any,
        codebook_size: int,
        seed: int,
        runtime: Runtime | None = None,
    ) -> tuple[CardCodec, dict[str, Any]]:
        """A codec fitted on waveforms ``(num_samples,)``, the same for the same ``seed``, and facts for its card.

        Raises:
            UserError: too little audio.
        """
