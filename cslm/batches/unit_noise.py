"""Units read as others, so that what is spoken next has to come from the text.

The units before a unit foretell most of it: a word that has begun goes on by itself, and the text is needed at the
beginnings of words only. A model that learns from clean units speaks the words that usually follow and hardly learns
where in the text it is. With some of the units that it reads replaced, it has to look at every one. The same is done to
words in text generation (word dropout, arXiv 1511.06349, section 3.1) and to frames in speech synthesis (a pre-net with
dropout, found essential for learning attention; arXiv 1712.05884, section 2.2).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from cslm.sequences.sequence import Sequence


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
