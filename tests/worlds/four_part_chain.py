"""A chain of four parts as a user would add it: question, its translation, the answer in English, the answer."""

from __future__ import annotations

from cslm.sequences.chains import Chain, Segment
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.small_village import CODEBOOK_SIZE, small_tokenizer

MARKED = Chain(
    (
        Segment("question", "question", "text", "[question]", before=": ", after="; "),
        Segment("question", "en", "text", "[translation]", before=": ", after="; "),
        Segment("answer", "en", "text", "[thought]", before=": ", after="; "),
        Segment("answer", "answer", "both", "[answer]", before=": ", chunked=True),
    )
)
"""With markers that are tokens, two of them the tokenizer's own."""

IN_WORDS = Chain(
    (
        Segment("question", "question", "text", before="Heard: ", after="\n"),
        Segment("question", "en", "text", before="In English: ", after="\n"),
        Segment("answer", "en", "text", before="Thought: ", after="\n"),
        Segment("answer", "answer", "both", before="Answer: ", chunked=True),
    )
)
"""The same parts with words in the place of markers."""


def four_part_format(folder) -> SequenceFormat:
    """The format of a small tokenizer with 32 units and all markers of the chains of now."""
    tokenizer = small_tokenizer(folder)
    extend_tokenizer(tokenizer, [CODEBOOK_SIZE], ["[translation]", "[thought]"])
    return SequenceFormat(tokenizer)
