"""Spoken sentences as the ids that are scored: what stands around them, and which ids count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cslm.codecs.units import Units
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.stories import spoken_document

AROUND = ("document", "ends", "nothing")
COUNTED = ("all", "units")


class SpokenIds(NamedTuple):
    """Spoken sentences as a model reads them."""

    ids: NDArray[np.int64]
    """(num_ids,)"""
    counted: NDArray[np.bool_]
    """(num_ids,): which ids count; the first never does, for nothing stands before it"""
    last_start: int
    """where the last sentence begins"""

    def counts_of_last(self) -> NDArray[np.bool_]:
        """Which ids count of the last sentence, and of what ends the document."""
        return self.counted & (np.arange(len(self.ids)) >= self.last_start)


@dataclass(frozen=True)
class Framing:
    """What stands around speech, and what of it counts."""

    around: str = "document"
    """``document``: what begins and what ends a document of training; ``ends``: the id that ends a document, on both
    sides, as slamkit's ``<S>``; ``nothing``"""
    markers: bool = True
    """whether ``<sosp>`` and ``<eosp>`` stand around each sentence, where training writes them"""
    counted: str = "all"
    """``all`` ids behind the first, or ``units`` alone"""

    def __post_init__(self) -> None:
        assert self.around in AROUND and self.counted in COUNTED, self


def spoken_ids(form: SequenceFormat, sentences: Sequence[tuple[Units, str]], framing: Framing) -> SpokenIds:
    """The ids of sentences ``(units, language)`` in a row, at least one, written by what writes documents of training.

    Args:
        form: of the model; it has units.
    """
    assert form.vocabulary is not None
    before, after = form.document_ends()
    first, last = {"document": (before, after), "ends": (after, after), "nothing": ((), ())}[framing.around]
    body = _body(form, sentences, framing.markers)
    ids = np.concatenate([np.array(part, dtype=np.int64) for part in (first, body, last)])
    counts = np.ones(len(ids), dtype=np.bool_) if framing.counted == "all" else form.vocabulary.is_unit(ids)
    counts[:1] = False
    prefix = _body(form, sentences[:-1], framing.markers) if len(sentences) > 1 else ()
    return SpokenIds(ids, counts, len(first) + len(prefix))


def _body(form: SequenceFormat, sentences: Sequence[tuple[Units, str]], markers: bool) -> NDArray[np.int32]:
    """A spoken document without what begins and ends it."""
    assert form.vocabulary is not None
    before, after = form.document_ends()
    ids = spoken_document(form, sentences).ids
    body = ids[len(before) : len(ids) - len(after)]
    return body if markers else body[form.vocabulary.is_unit(body)]
