"""Units read as others, so that what is spoken next has to come from the text.

The units before a unit foretell most of it: a word that has begun goes on by itself, and the text is needed at the
beginnings of words only. A model that learns from clean units speaks the words that usually follow and hardly learns
where in the text it is. With some of the units that it reads replaced, it has to look at every one. The same is done to
words in text generation (word dropout, arXiv 1511.06349, section 3.1) and to frames in speech synthesis (the dropout
of the pre-net, without which alignments are not learnt; arXiv 1712.05884, section 2.2).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cslm.batches.source_config import Source
from cslm.sequences.sequence import Sequence
from cslm.units.store import UnitStore


class NoisyUnits:
    """A source in whose documents a share of the units that are learnt is read as others; what is learnt stays."""

    def __init__(self, source: Source, share: float) -> None:
        self._source, self._share = source, share

    @property
    def task(self) -> str:
        """What the sequences are."""
        return self._source.task

    @property
    def num_documents(self) -> int:
        """How many there are in an epoch."""
        return self._source.num_documents

    @property
    def languages(self) -> list[str]:
        """Languages of what is trained, sorted."""
        return self._source.languages

    @property
    def mean_length(self) -> float:
        """Mean number of ids of a document."""
        return self._source.mean_length

    @property
    def store(self) -> UnitStore | None:
        """The unit store, for a source that has one."""
        return self._source.store

    def sequence(self, index: int, draw_seed: int) -> Sequence:
        """The document ``index``; the seed draws the noise too."""
        return read_with_noise(self._source.sequence(index, draw_seed), self._share, draw_seed)


def read_with_noise(document: Sequence, share: float, seed: int) -> Sequence:
    """The document, each trained unit read as one drawn from all units of the document with probability ``share``."""
    spoken = [span for span in document.spans if span.modality == "speech"]
    learnt = [np.arange(span.start, span.stop) for span in spoken if span.trained]
    if not learnt:
        return document
    generator = np.random.default_rng((seed, 1))
    places = np.concatenate(learnt)
    places = places[generator.random(len(places)) < share]
    units = np.concatenate([document.ids[span.start : span.stop] for span in spoken])
    read = document.ids.copy()
    read[places] = units[generator.integers(len(units), size=len(places))]
    return dataclasses.replace(document, read=read)
