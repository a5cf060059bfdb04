"""Spoken sentences as the ids that are scored: what stands around them, and which ids count."""

from __future__ import annotations

from collections.abc import Sequence
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


def spoken_ids(
    form: SequenceFormat, sentences: Sequence[tuple[Units, str]], around: str = "document", counted: str = "all"
) -> SpokenIds:
    """The ids of sentences ``(units, language)`` in a row, written by what writes documents of training.

    Args:
        form: of the model; it has units.
        sentences: at least one.
        around: ``document``: what begins and what ends a document of training; ``ends``: the id that ends a document,
            on both sides, as slamkit's ``<S>``; ``nothing``.
        counted: ``all`` ids behind the first, or ``units`` alone.
    """
    assert form.vocabulary is not None and around in AROUND and counted in COUNTED
    before, after = form.chat.document_ends()
    body = _body(form, sentences)
    first, last = {"document": (before, after), "ends": (after, after), "nothing": ((), ())}[around]
    ids = np.concatenate([np.array(part, dtype=np.int64) for part in (first, body, last)])
    counts = np.ones(len(ids), dtype=np.bool_) if counted == "all" else form.vocabulary.is_unit(ids)
    counts[:1] = False
    start = len(first) + (len(_body(form, sentences[:-1])) if len(sentences) > 1 else 0)
    return SpokenIds(ids, counts, start)


def _body(form: SequenceFormat, sentences: Sequence[tuple[Units, str]]) -> NDArray[np.int32]:
    """A spoken document without what begins and ends it."""
    before, after = form.chat.document_ends()
    ids = spoken_document(form, sentences).ids
    return ids[len(before) : len(ids) - len(after)]
