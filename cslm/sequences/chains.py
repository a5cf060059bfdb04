"""Chains of modality: what an answer is made of, part by part, as data (CSLM section 3.3.2, appendix A).

A chain is an ordered list of segments. One writer, one reader and one grammar walk it (``chain_of_modality``,
``chain_reader``, ``cslm.generation.grammar``), so another chain is a list of segments and a line in :data:`CHAINS`.
TQ is the transcript of the question, TA the text and SA the speech of the answer:

- ``interleaved``: ``[question]: TQ; [answer]: TA1<sosp>SA1<eosp>TA2<sosp>SA2<eosp>...``
- ``full``:        ``[question]: TQ; [answer]: TA<sosp>SA<eosp>``
- ``no_question``: ``[answer]: TA1<sosp>SA1<eosp>TA2<sosp>SA2<eosp>...``

XS-CoT reasons in a core language c about what was asked in n. CQ and CA are the question and the answer in c:

- ``xs_cot``:                 ``[question]: TQ; [translation]: CQ; [thought]: CA; [answer]: TA``
- ``xs_cot_spoken``:          the same, its answer as in ``interleaved``
- ``transcript_then_answer``: ``[question]: TQ; [answer]: TA``; spoken: ``interleaved``
- ``direct``:                 ``TA``; spoken: ``no_question``

Those that end in ``labels`` have words in the place of markers, each on a line of its own: ``Question: TQ``. A text may
spell them: it is learnt as any other, but a reply is read by the first place that spells the next of them.

What a document of such a chain holds, by field: ``question_text``, ``core_question``, ``core_answer`` and
``answer_text`` in the languages ``question_language``, ``core_language`` and ``answer_language``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from cslm.errors import UserError

Side = Literal["question", "answer"]
SegmentModality = Literal["text", "speech", "both"]
"""Text, units, or of each chunk its text and then its units."""
CORE = "core"
"""The language of a segment that each document names in its field ``core_language``."""
CORE_LANGUAGE = "core_language"


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a chain.

    ``language`` is that of the question, that of the answer, the core language that the document names (``core``), or
    a language by its tag. A segment without ``marker`` is found again by the words of ``before``: a marker as text.
    """

    side: Side
    language: str
    modality: SegmentModality
    marker: str | None = None
    """surface form of the id that stands before it: ``[question]``; None for none"""
    before: str = ""
    """text between the marker and what is said"""
    after: str = ""
    """text behind what is said"""
    chunked: bool = False
    """whether it is written chunk by chunk"""

    def __post_init__(self) -> None:
        bracketed = self.marker is None or self.marker[:1] + self.marker[-1:] in ("[]", "<>")
        assert bracketed, f"the marker {self.marker} is no [word] or <word>: texts that spell it would become it"

    @property
    def field(self) -> str:
        """The field of a document that holds its text: ``question_text``, ``core_answer``, ``answer_text_en``, ..."""
        if self.language == CORE:
            return f"{CORE}_{self.side}"
        return f"{self.side}_text" + ("" if self.language == self.side else f"_{self.language}")

    @property
    def label(self) -> str:
        """The words that say where a segment without marker begins."""
        return "" if self.marker is not None else self.before.strip()

    def language_in(self, languages: Mapping[str, Any]) -> str:
        """Its language in a document, of which these are fields: ``question_language``, ``answer_language``, ..."""
        said: str = languages.get(f"{self.language}_language", self.language)
        assert said != CORE, "the chain has a core language, and the document names none"
        return said

    def without_layout(self, text: str) -> str:
        """A text that was read, without ``before`` and ``after``, as far as they are there."""
        said = text.strip().removeprefix(self.before.strip()).strip()
        return said.removesuffix(self.after.strip()).rstrip()


@dataclass(frozen=True, slots=True)
class Chain:
    """Segments in the order in which they are written. The last one is the answer that is meant for the user."""

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        assert self.segments, "a chain has at least one segment"
        for before, segment in pairwise(self.segments):
            by_speech = segment.modality == "speech" and before.modality == "text"
            assert segment.marker or segment.label or by_speech, f"nothing tells where {segment} begins"

    @property
    def markers(self) -> tuple[str, ...]:
        """The surface forms of its markers."""
        return tuple(segment.marker for segment in self.segments if segment.marker is not None)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a document that hold its texts, each once."""
        return tuple(dict.fromkeys(segment.field for segment in self.segments))

    @property
    def core_languages(self) -> tuple[str, ...]:
        """The languages that it names itself, each once."""
        of_documents = ("question", "answer", CORE)
        named = (segment.language for segment in self.segments if segment.language not in of_documents)
        return tuple(dict.fromkeys(named))

    @property
    def has_core(self) -> bool:
        """Whether its documents name a core language."""
        return any(segment.language == CORE for segment in self.segments)

    @property
    def chunked(self) -> bool:
        """Whether the answer is cut into chunks."""
        return any(segment.chunked for segment in self.segments)

    @property
    def speaks(self) -> bool:
        """Whether there is speech in it."""
        return any(segment.modality != "text" for segment in self.segments)


_TRANSCRIPT = Segment("question", "question", "text", "[question]", before=": ", after="; ")
_ANSWER = Segment("answer", "answer", "both", "[answer]", before=": ")
_ANSWER_IN_CHUNKS = Segment("answer", "answer", "both", "[answer]", before=": ", chunked=True)
_WRITTEN_ANSWER = Segment("answer", "answer", "text", "[answer]", before=": ")
_THROUGH_CORE = (
    _TRANSCRIPT,
    Segment("question", CORE, "text", "[translation]", before=": ", after="; "),
    Segment("answer", CORE, "text", "[thought]", before=": ", after="; "),
)
_LABELLED_TRANSCRIPT = Segment("question", "question", "text", before="Question: ", after="\n")
_LABELLED_THROUGH_CORE = (
    _LABELLED_TRANSCRIPT,
    Segment("question", CORE, "text", before="Translation: ", after="\n"),
    Segment("answer", CORE, "text", before="Thought: ", after="\n"),
)
_LABELLED_ANSWER = Segment("answer", "answer", "text", before="Answer: ")

CHAINS: dict[str, Chain] = {
    "interleaved": Chain((_TRANSCRIPT, _ANSWER_IN_CHUNKS)),
    "full": Chain((_TRANSCRIPT, _ANSWER)),
    "no_question": Chain((_ANSWER_IN_CHUNKS,)),
    "xs_cot": Chain((*_THROUGH_CORE, _WRITTEN_ANSWER)),
    "xs_cot_spoken": Chain((*_THROUGH_CORE, _ANSWER_IN_CHUNKS)),
    "xs_cot_labels": Chain((*_LABELLED_THROUGH_CORE, _LABELLED_ANSWER)),
    "xs_cot_spoken_labels": Chain(
        (*_LABELLED_THROUGH_CORE, replace(_LABELLED_ANSWER, modality="both", chunked=True)),
    ),
    "transcript_then_answer": Chain((_TRANSCRIPT, _WRITTEN_ANSWER)),
    "transcript_then_answer_labels": Chain((_LABELLED_TRANSCRIPT, _LABELLED_ANSWER)),
    "direct": Chain((Segment("answer", "answer", "text"),)),
}
"""Name (the ``order`` of a source) to chain."""


def chain_of(order: str) -> Chain:
    """The chain of a name.

    Raises:
        UserError: there is none.
    """
    if order not in CHAINS:
        raise UserError(f"there is no order {order!r} of the chain of modality: choose one of {', '.join(CHAINS)}")
    return CHAINS[order]


def markers_of_chains(orders: Iterable[str] | None = None) -> tuple[str, ...]:
    """The surface forms of the markers of these chains, or of all, each once.

    Raises:
        UserError: there is no such chain.
    """
    chains = CHAINS.values() if orders is None else [chain_of(order) for order in orders]
    return tuple(dict.fromkeys(marker for chain in chains for marker in chain.markers))
