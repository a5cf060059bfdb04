"""Chunks of an answer: text cut at punctuation, and its units cut at the same places by word times.

The paper's rule (CSLM section 3.3.2, appendix E): cut at punctuation unless the piece would be shorter than 7 words.
What it leaves open is decided so: in Chinese, and other languages written without spaces, a word is one character (a
run of Latin letters or digits counts as one); a short tail joins the chunk before it; units are cut in the middle of
the pause between two words, and a run of repeats across the cut is cut in two; a place that the word times do not show
is not cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from cslm.codecs.units import Units, cut
from cslm.corpora.languages import is_unspaced
from cslm.corpora.word_times import Word, word_starts

MINIMUM_WORDS = 7

CLOSERS = "\"'”’»)\\]）】」』》"
_CUT = re.compile(rf"[,.;:!?…—]+[{CLOSERS}]*(?=\s|$)|[，。；：！？、…—]+[{CLOSERS}]*")
_UNSPACED_CHARACTER = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
UNSPACED_WORD = re.compile(rf"[{_UNSPACED_CHARACTER}]|[^\W_{_UNSPACED_CHARACTER}]+")
_FULL_WIDTH = re.compile(rf"[{_UNSPACED_CHARACTER}\u3000-\u303f\uff00-\uffef“”‘’…—]")


def chunk_text(text: str, language: str, minimum: int = MINIMUM_WORDS) -> list[str]:
    """Cut a text at punctuation into chunks of at least ``minimum`` words; joined, they are the text again.

    A chunk after the first keeps the space before it. A text without enough words is one chunk; an empty text none.
    """
    ends = [match.end() for match in _CUT.finditer(text)]
    chunks: list[str] = []
    start = 0
    for end in ends:
        if count_words(text[start:end], language) >= minimum:
            chunks.append(text[start:end])
            start = end
    tail = text[start:]
    if tail and chunks and count_words(tail, language) < minimum:
        chunks[-1] += tail
    elif tail:
        chunks.append(tail)
    return chunks


def count_words(text: str, language: str) -> int:
    """Words of a text; characters in a language that is written without spaces."""
    if is_unspaced(language):
        return len(UNSPACED_WORD.findall(text))
    return len(text.split())


def join_chunks(chunks: Sequence[str]) -> str:
    """The text of chunks again, with a space between two that have none, unless their script is written without."""
    text = ""
    for chunk in chunks:
        if text and chunk and not text[-1].isspace() and not chunk[0].isspace():
            spaced = not (_FULL_WIDTH.match(text[-1]) or _FULL_WIDTH.match(chunk[0]))
            text += " " if spaced else ""
        text += chunk
    return text.strip()


def speak_chunks(
    chunks: Sequence[str], units: Units, words: Sequence[Word] | None, frame_rate_hz: float
) -> list[tuple[str, Units]]:
    """Every chunk with its units. Two chunks that the word times do not tell apart become one.

    Args:
        chunks: as :func:`chunk_text` cut the utterance's text.
        units: of the whole utterance; merged ones stay merged.
        words: ``(word, start_sec, end_sec)`` in order; None or words that are not the text's give one chunk.
    """
    parts = cut_chunks(chunks, words, frame_rate_hz, units.num_frames_total)
    if len(parts) == 1:
        return [(parts[0].text, units)]
    return [(part.text, cut(units, part.start, part.stop)) for part in parts]


class ChunkFrames(NamedTuple):
    """A chunk and the frames ``[start, stop)`` in which it is said."""

    text: str
    start: int
    stop: int


def cut_chunks(
    chunks: Sequence[str], words: Sequence[Word] | None, frame_rate_hz: float, num_frames: int
) -> list[ChunkFrames]:
    """Every chunk with its frames, which are all of an utterance's. Two that the word times do not tell apart are one.

    Between two chunks the cut is in the middle of the pause, rounded to the nearest frame: of frames, of units, or of
    the vectors that stand for them.

    Args:
        chunks: a text in parts.
        words: ``(word, start_sec, end_sec)`` in order; None or words that are not the text's give one chunk.
        frame_rate_hz: frames a second.
        num_frames: of the whole utterance.
    """
    boundaries = _boundaries_sec(chunks, words) if words else [None] * (len(chunks) - 1)
    parts: list[ChunkFrames] = []
    text, start_frame = "", 0
    for chunk, boundary_sec in zip(chunks, [*boundaries, None], strict=True):
        text += chunk
        if boundary_sec is not None:
            stop_frame = round(boundary_sec * frame_rate_hz)
            if start_frame < stop_frame < num_frames:
                parts.append(ChunkFrames(text, start_frame, stop_frame))
                text, start_frame = "", stop_frame
    return [*parts, ChunkFrames(text, start_frame, num_frames)] if text else parts


def _boundaries_sec(chunks: Sequence[str], words: Sequence[Word]) -> list[float | None]:
    """The middle of the pause after each chunk but the last, in seconds."""
    starts = word_starts("".join(chunks), words)
    if starts is None:
        return [None] * (len(chunks) - 1)
    first_word: dict[int, int] = {}
    for index, start in enumerate(starts):
        first_word.setdefault(start, index)
    boundaries: list[float | None] = []
    end = 0
    for chunk, following in pairwise(chunks):
        end += len(chunk)
        letter = next((index for index, character in enumerate(following) if character.isalnum()), None)
        word = first_word.get(end + letter) if letter is not None else None
        boundaries.append((words[word - 1][2] + words[word][1]) / 2 if word else None)
    return boundaries
