"""Where units and markers stand among the ids of a text tokenizer, and where without any text.

Text ids stay as they are; from ``len(tokenizer)`` on comes one contiguous block of units, then the markers. Units
become ids by adding an offset, never by going through strings. Chains of modality may have markers of their own: a
tokenizer holds them or not (``further``).

A model without text (*textless*, cross-lingual interleaving, arXiv 2512.01865) has units from 0 on, then the one id
that ends a document, and no marker: sentences follow one another with nothing in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import unit_token
from cslm.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

START_OF_SPEECH = "<sosp>"
END_OF_SPEECH = "<eosp>"
QUESTION = "[question]"
ANSWER = "[answer]"
MARKERS = (START_OF_SPEECH, END_OF_SPEECH, QUESTION, ANSWER)
_MARKER_KEYS = dict(zip(("sosp", "eosp", "question", "answer"), MARKERS, strict=True))

PADDING_MULTIPLE = 64


@dataclass(frozen=True)
class SpeechVocabulary:
    """The layout of text, units and markers. Frozen: a checkpoint keeps the one that it was trained with."""

    num_text_ids: int
    codebook_sizes: tuple[int, ...]
    first_unit_id: int
    markers: dict[str, int] = field(default_factory=dict, hash=False)
    """surface forms and ids of all markers: ``<sosp>``, ``<eosp>``, ``[question]``, ``[answer]``, further ones; none
    without text"""
    end_of_document: int | None = None
    """the id that ends a document of a textless model; None where there is text, whose tokenizer says it"""
    every_frame: bool = False
    """whether each frame is written though there is one codebook; otherwise repeats of its units are merged"""

    @classmethod
    def after_text(
        cls, num_text_ids: int, codebook_sizes: Sequence[int], further: Sequence[str] = ()
    ) -> SpeechVocabulary:
        """The layout of this package: units from ``num_text_ids`` on, then the four markers, then ``further`` ones."""
        sizes = _checked_sizes(codebook_sizes)
        ids = {form: num_text_ids + sum(sizes) + place for place, form in enumerate((*MARKERS, *further))}
        return cls(num_text_ids, sizes, num_text_ids, ids)

    @classmethod
    def without_text(cls, codebook_sizes: Sequence[int], merge_repeats: bool = False) -> SpeechVocabulary:
        """The layout of a textless model: units from 0 on, then the id that ends a document.

        Args:
            merge_repeats: of one codebook; the units of several always come frame by frame.
        """
        sizes = _checked_sizes(codebook_sizes)
        return cls(0, sizes, 0, {}, sum(sizes), every_frame=not merge_repeats)

    @property
    def is_textless(self) -> bool:
        """Whether there are only units and what ends a document."""
        return self.end_of_document is not None

    @property
    def merges_repeats(self) -> bool:
        """Whether runs of equal units are one id (CSLM section 3.1); units of several codebooks hardly ever repeat."""
        return len(self.codebook_sizes) == 1 and not self.every_frame

    @property
    def around_speech(self) -> tuple[int, int]:
        """The ids before and behind speech: ``<sosp>`` and ``<eosp>``; without text the ends of documents."""
        if self.end_of_document is not None:
            return self.end_of_document, self.end_of_document
        return self.sosp, self.eosp

    @property
    def sosp(self) -> int:
        """The id of ``<sosp>``."""
        return self._marker(START_OF_SPEECH)

    @property
    def eosp(self) -> int:
        """The id of ``<eosp>``."""
        return self._marker(END_OF_SPEECH)

    @property
    def question(self) -> int:
        """The id of ``[question]``."""
        return self._marker(QUESTION)

    @property
    def answer(self) -> int:
        """The id of ``[answer]``."""
        return self._marker(ANSWER)

    @property
    def further(self) -> dict[str, int]:
        """Surface forms and ids of the markers that only some chains write."""
        return {form: token_id for form, token_id in self.markers.items() if form not in MARKERS}

    def _marker(self, form: str) -> int:
        """The id of a marker.

        Raises:
            UserError: a textless model has none.
        """
        if form not in self.markers:
            raise UserError(
                f"the model is textless (units alone) and has no {form}: let it continue speech, or take one with text"
            )
        return self.markers[form]

    @property
    def num_units(self) -> int:
        """How many ids name a unit, over all codebooks."""
        return sum(self.codebook_sizes)

    @property
    def marker_ids(self) -> tuple[int, ...]:
        """The ids of all markers, in the order of :attr:`markers`."""
        return tuple(self.markers.values())

    @property
    def size(self) -> int:
        """The number of ids that name something: text, units, markers, and what ends a textless document."""
        others = self.marker_ids if self.end_of_document is None else (self.end_of_document,)
        return max(self.num_text_ids, self.first_unit_id + self.num_units, max(others) + 1)

    @property
    def padded_size(self) -> int:
        """The size rounded up to a multiple of 64: the rows of our embedding."""
        return -(-self.size // PADDING_MULTIPLE) * PADDING_MULTIPLE

    @property
    def codebook_offsets(self) -> npt.NDArray[np.int64]:
        """The id of unit 0 of each codebook, ``(num_codebooks,)``."""
        starts = np.cumsum((0, *self.codebook_sizes[:-1]), dtype=np.int64)
        return starts + self.first_unit_id

    def unit_id(self, unit: int, codebook: int = 0) -> int:
        """The id of one unit."""
        assert 0 <= unit < self.codebook_sizes[codebook], (unit, codebook, self.codebook_sizes)
        return self.first_unit_id + sum(self.codebook_sizes[:codebook]) + unit

    def unit_ids(self, units: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Ids of units ``(num_frames, num_codebooks)``, frame by frame: ``(num_frames * num_codebooks,)``.

        Raises:
            UserError: the units have another number of codebooks, or are out of range for this vocabulary.
        """
        if len(self.codebook_sizes) == 1:
            flat = units.reshape(-1).astype(np.int32)
            if units.ndim == 2 and units.shape[1] != 1:
                raise UserError(
                    f"units of {units.shape[1]} codebooks in a vocabulary of 1: use the card it was made with"
                )
            if flat.size and (int(flat.max()) >= self.codebook_sizes[0] or int(flat.min()) < 0):
                raise UserError(self._out_of_range(int(flat.max())))
            return flat + np.int32(self.first_unit_id)
        if units.ndim != 2 or units.shape[1] != len(self.codebook_sizes):
            raise UserError(
                f"units of shape {units.shape} in a vocabulary of {len(self.codebook_sizes)} codebooks: "
                "use the card it was made with"
            )
        if units.size and bool((units >= np.asarray(self.codebook_sizes)).any()):
            raise UserError(self._out_of_range(int(units.max())))
        return (units.astype(np.int64) + self.codebook_offsets).reshape(-1).astype(np.int32)

    def _out_of_range(self, unit: int) -> str:
        return f"unit {unit} in a vocabulary of codebooks {list(self.codebook_sizes)}: use the card it was made with"

    def is_unit(self, ids: Any) -> Any:
        """Which of ``ids`` (an int, an array or a tensor) name units: a bool, or booleans of the same shape."""
        return (ids >= self.first_unit_id) & (ids < self.first_unit_id + self.num_units)

    def units_from_ids(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Units ``(num_frames, num_codebooks)`` of ids written frame by frame.

        Reads up to the first id that stands out of turn; an unfinished last frame is left out. (A model may write such
        things; a sequence that this package built holds none.)
        """
        flat = np.asarray(ids, dtype=np.int64).reshape(-1)
        num_codebooks = len(self.codebook_sizes)
        frames = flat[: len(flat) // num_codebooks * num_codebooks].reshape(-1, num_codebooks) - self.codebook_offsets
        wrong = ((frames < 0) | (frames >= np.asarray(self.codebook_sizes))).any(axis=1)
        return frames[: int(wrong.argmax())] if wrong.any() else frames

    def tokens(self) -> list[str]:
        """The surface forms of units and markers, in the order of their ids; not of what ends a textless document."""
        forms = {
            self.unit_id(unit, codebook): unit_token(unit, codebook)
            for codebook, size in enumerate(self.codebook_sizes)
            for unit in range(size)
        }
        forms.update((token_id, form) for form, token_id in self.markers.items())
        return [forms[token_id] for token_id in sorted(forms)]

    def to_dict(self) -> dict[str, Any]:
        """The layout as plain values, for the speech section of a checkpoint's config."""
        layout = {
            "num_text_ids": self.num_text_ids,
            "codebook_sizes": list(self.codebook_sizes),
            "first_unit_id": self.first_unit_id,
        }
        if self.is_textless:
            return {**layout, "end_of_document": self.end_of_document, "every_frame": self.every_frame}
        further = {"further_markers": self.further} if self.further else {}
        return {**layout, **{name: self.markers[form] for name, form in _MARKER_KEYS.items()}, **further}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpeechVocabulary:
        """The layout that :meth:`to_dict` wrote."""
        sizes = tuple(int(size) for size in values["codebook_sizes"])
        num_text_ids, first = int(values["num_text_ids"]), int(values["first_unit_id"])
        if "end_of_document" in values:
            end, every_frame = int(values["end_of_document"]), bool(values["every_frame"])
            return cls(num_text_ids, sizes, first, {}, end, every_frame)
        markers = {form: int(values[name]) for name, form in _MARKER_KEYS.items()}
        markers |= {form: int(token_id) for form, token_id in values.get("further_markers", {}).items()}
        return cls(num_text_ids, sizes, first, markers)


def _checked_sizes(codebook_sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in codebook_sizes)
    assert sizes and min(sizes) > 0, sizes
    return sizes
