"""A sequence for a reader: one line for each span, with who speaks, in which language, and what is learnt."""

from __future__ import annotations

import numpy as np

from cslm.sequences.sequence import Modality, Sequence, Span
from cslm.sequences.sequence_format import SequenceFormat

LEGEND = (
    "each line: * where the span is learnt, its place, role, language, modality, number of ids, and what it says; "
    "<12>(<7>) is learnt as <12>, but the model reads <7> there"
)
"""What the columns of :func:`sequence_lines` mean."""

_COLOURS: dict[Modality, str] = {"text": "32", "speech": "33", "marker": "35", "template": "36", "audio": "34"}
_LEARNT, _NOISE = "1;4;", "1;7;31"  # bold and underlined; reversed red
_END_TOKENS, _END_CHARACTERS = 10, 100


def num_learnt(sequence: Sequence) -> int:
    """Ids that the loss counts: the trained ones, but never the first of a document, which nothing stands before."""
    return int(sequence.trained[1:].sum())


def num_noisy(sequence: Sequence) -> int:
    """Ids that the model reads as others."""
    return 0 if sequence.read is None else int((sequence.read != sequence.ids).sum())


def sequence_lines(form: SequenceFormat, sequence: Sequence, colour: bool = False, full: bool = False) -> list[str]:
    """One line for each span.

    Args:
        colour: a colour for each modality, and what is learnt bold and underlined, as terminals write it.
        full: long spans whole; else the middle of more than 20 units or 200 characters is left out, and counted.
    """
    rows = []
    for span, text in form.span_texts(sequence):
        tokens = _tokens(form, sequence, span)
        said = _join(tokens, span, colour, full) if tokens else _paint(_cut(_plain(text), full), span, colour)
        mark, count = "*" if span.trained else " ", str(span.stop - span.start)
        rows.append((mark, str(span.start), span.role, span.language, span.modality, count, said))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(6)]
    return ["  ".join([*_padded(row[:-1], widths), row[-1]]) for row in rows]


def _padded(cells: tuple[str, ...], widths: list[int]) -> list[str]:
    """Numbers to the right, words to the left."""
    pairs = zip(cells, widths, strict=True)
    return [cell.rjust(width) if cell.isdigit() else cell.ljust(width) for cell, width in pairs]


def _tokens(form: SequenceFormat, sequence: Sequence, span: Span) -> list[tuple[str, str | None]]:
    """Each id by its surface, with that of the id that is read instead of it, if any; nothing for plain text."""
    ids = sequence.ids[span.start : span.stop]
    read = ids if sequence.read is None else sequence.read[span.start : span.stop]
    if span.modality == "text" and bool(np.array_equal(ids, read)):
        return []
    surface = form.surface
    pairs = zip(ids.tolist(), read.tolist(), strict=True)
    return [(_plain(surface([one])), None if one == other else _plain(surface([other]))) for one, other in pairs]


def _join(tokens: list[tuple[str, str | None]], span: Span, colour: bool, full: bool) -> str:
    """The tokens of one span one after another, the middle left out where there are many."""
    if full or len(tokens) <= 2 * _END_TOKENS:
        return _painted(tokens, span, colour)
    left_out = f" ... {len(tokens) - 2 * _END_TOKENS:,} more ... "
    first, last = tokens[:_END_TOKENS], tokens[-_END_TOKENS:]
    return f"{_painted(first, span, colour)}{left_out}{_painted(last, span, colour)}"


def _painted(tokens: list[tuple[str, str | None]], span: Span, colour: bool) -> str:
    parts, run = [], ""
    for surface, read in tokens:
        run += surface
        if read is not None:
            parts += [_paint(run, span, colour), f"\x1b[{_NOISE}m({read})\x1b[0m" if colour else f"({read})"]
            run = ""
    return "".join([*parts, _paint(run, span, colour)])


def _paint(text: str, span: Span, colour: bool) -> str:
    if not colour or not text:
        return text
    return f"\x1b[{_LEARNT if span.trained else ''}{_COLOURS[span.modality]}m{text}\x1b[0m"


def _cut(text: str, full: bool) -> str:
    if full or len(text) <= 2 * _END_CHARACTERS:
        return text
    count = len(text) - 2 * _END_CHARACTERS
    return f"{text[:_END_CHARACTERS]} ... {count:,} characters more ... {text[-_END_CHARACTERS:]}"


def _plain(text: str) -> str:
    """Text on one line: line ends and control characters as escapes, so that no corpus writes to the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
