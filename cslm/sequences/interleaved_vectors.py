"""Speech of which some spans of words are text: interleaving in the space of embeddings (MTBI).

The encoder hears the whole clip, so the vectors beside a replaced span still know of it; what is replaced is what the
language model reads. The n vectors of a clip stand for equal parts of its time, and a cut is in the middle of the pause
between two words, rounded to the nearest vector. Words that no vector tells apart are replaced together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence as Seq
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from cslm.corpora.word_times import Word, word_starts
from cslm.sequences.chunking import ChunkFrames, cut_chunks
from cslm.sequences.interleaving import MEAN_SPAN_WORDS, draw_spans
from cslm.sequences.sequence_format import SequenceFormat


class Vectors(NamedTuple):
    """Vectors ``[start, stop)`` of a clip."""

    start: int
    stop: int


Piece = str | Vectors
"""a stretch of the input: text, or vectors of the clip"""


def has_word_times(text: str, words: Seq[Word] | None) -> bool:
    """Whether an utterance can be cut: it has times of words, and they are those of its text."""
    return bool(words) and word_starts(text, words or ()) is not None


def interleaved_pieces(
    form: SequenceFormat,
    text: str,
    words: Seq[Word] | None,
    num_vectors: int,
    duration_sec: float,
    share: float,
    generator: np.random.Generator,
    span_words: float = MEAN_SPAN_WORDS,
) -> list[Piece]:
    """The pieces of one utterance, in order; of a share of its words text, of the others vectors.

    Spans are drawn as :func:`~cslm.sequences.interleaving.draw_spans` does, and then replaced in a random order as
    long as that brings the share of replaced words nearer to ``share``. 0 gives the vectors alone, 1 the text alone.
    Without word times nothing is replaced, but at 1.
    """
    assert 0 <= share <= 1, share
    if share == 1:
        return [text]
    if share == 0 or not has_word_times(text, words):
        return [Vectors(0, num_vectors)]
    spans = draw_spans(form, text, words, span_words, generator)
    parts = cut_chunks(spans, words, num_vectors / duration_sec, num_vectors)
    return _joined(parts, _replaced(_word_counts(text, words or (), parts), share, generator))


def _word_counts(text: str, words: Seq[Word], parts: Seq[ChunkFrames]) -> list[int]:
    """The words that begin in each part of a text."""
    ends = list(accumulate(len(part.text) for part in parts))
    counts = [0] * len(parts)
    for start in word_starts(text, words) or ():
        counts[min(bisect_right(ends, start), len(parts) - 1)] += 1
    return counts


def _replaced(counts: Seq[int], share: float, generator: np.random.Generator) -> set[int]:
    """Which of the parts, of so many words each, become text."""
    wanted, found, replaced = share * sum(counts), 0, set[int]()
    for index in generator.permutation(len(counts)).tolist():
        if abs(found + counts[index] - wanted) <= abs(found - wanted):
            replaced.add(index)
            found += counts[index]
    return replaced


def _joined(parts: Seq[ChunkFrames], replaced: set[int]) -> list[Piece]:
    """The parts as pieces; those of one kind side by side are one."""
    pieces: list[Piece] = []
    for index, part in enumerate(parts):
        last = pieces[-1] if pieces else None
        if index in replaced:
            if isinstance(last, str):
                pieces[-1] = last + part.text
            else:
                pieces.append(part.text)
        elif isinstance(last, Vectors):
            pieces[-1] = Vectors(last.start, part.stop)
        else:
            pieces.append(Vectors(part.start, part.stop))
    return pieces
