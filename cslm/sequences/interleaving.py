"""Documents that change between text and speech, from the same manifest as the tasks.

Spans of words of one utterance (word times say where to cut), in turn as text and as units, or
each in both ways, side by side: heard (speech, then its text) or spoken (text, then its speech). Side by side they are
speech recognition and synthesis of a few words at a time, and only what comes second is learnt: the units of many
voices and the order of words are noise there. (Between languages: :mod:`~cslm.sequences.stories`.)
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np

from cslm.corpora.word_times import Word, word_starts
from cslm.sequences.chunking import speak_chunks
from cslm.sequences.sequence import Sequence, SequenceBuilder
from cslm.sequences.sequence_format import SequenceFormat
from cslm.units.store import StoreRow

MEAN_SPAN_WORDS = 5.0
SPANS = ("alternating", "heard", "spoken")
_OPENERS = "\"'“‘«([（【「『《"


def interleaved(
    form: SequenceFormat,
    utterance: StoreRow,
    frame_rate_hz: float,
    generator: np.random.Generator,
    spans: str = "alternating",
    span_words: float = MEAN_SPAN_WORDS,
) -> Sequence:
    """One utterance with its spans of words as text and as speech.

    A span has ``1 + Poisson(span_words - 1)`` words (Chinese: characters), and more where a token would be cut.
    ``spans`` is one of :data:`SPANS`; alternating draws whether the first is text, and all of it is trained. An
    utterance whose word times are missing, or are not of its text, is one span.
    """
    assert spans in SPANS, spans
    speaks = bool(generator.integers(2))
    cut = draw_spans(form, utterance.text, utterance.words, span_words, generator)
    drawn = speak_chunks(cut, utterance.units, utterance.words, frame_rate_hz)

    def write(builder: SequenceBuilder) -> None:
        for index, (span_text, span_units) in enumerate(drawn):
            if spans == "heard":
                builder.trained(False)
                builder.add_units(span_units)
                builder.trained(True)
                builder.add_text(span_text)
            elif spans == "spoken":
                builder.trained(False)
                builder.add_text(span_text)
                builder.trained(True)
                builder.add_units(span_units)
            elif (index % 2 == 0) == speaks:
                builder.add_units(span_units)
            else:
                builder.add_text(span_text)

    return form.document("interleaved", utterance.language, write)


def draw_spans(
    form: SequenceFormat, text: str, words: Seq[Word] | None, span_words: float, generator: np.random.Generator
) -> list[str]:
    """Cut a text before words that are drawn, or before the next one where no token is cut.

    A text whose word times are missing, or are not its own, is one span.
    """
    starts = word_starts(text, words) if words else None
    if starts is None:
        return [text]
    inside_tokens = form.encoder.inside_tokens(text)
    places = [_with_space(text, start) for start in starts]
    cuts = [0]
    word = 0
    while True:
        word += 1 + int(generator.poisson(span_words - 1))
        while word < len(places) and places[word] in inside_tokens:
            word += 1
        if word >= len(places):
            break
        if places[word] > cuts[-1]:
            cuts.append(places[word])
    return [text[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _with_space(text: str, start: int) -> int:
    """The place of a word with the space before it, and with what opens it (a quotation mark, a bracket)."""
    while start and text[start - 1] in _OPENERS:
        start -= 1
    while start and text[start - 1].isspace():
        start -= 1
    return start
