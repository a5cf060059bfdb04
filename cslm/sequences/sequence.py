"""Sequences: ids and loss mask, appended side by side by the same call, in spans that know what they are."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import Units, expand_repeats, merge_repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Sequence as Seq

    from cslm.sequences.templates import TemplatePiece
    from cslm.sequences.text_encoder import TextEncoder
    from cslm.sequences.vocabulary import SpeechVocabulary

Modality = Literal["text", "speech", "marker", "template", "audio"]
Role = Literal["system", "developer", "user", "assistant", "tool", "document"]
LEARNT_MODALITIES: tuple[Modality, ...] = ("text", "speech", "marker", "template")
"""what a model may learn to write: never ``audio``, whose ids only keep places for vectors"""


COUNTS_OF_CLIPS = ("labelled_clips", "aligned_tokens", "taught_clips", "imitated_tokens")
"""what clips may bring that losses are means over: a known language, ids of a transcript that vectors are held against,
a teacher's state, ids of a reply that a teacher predicts too"""


class Clip(Protocol):
    """A waveform, or features of one, from which the vectors of an audio span come."""

    def read(self) -> npt.NDArray[np.float32]:
        """Samples ``(samples,)``, or features ``(frames, dims)``; asked for when its row is made."""
        ...


@runtime_checkable
class ClipWithMore(Clip, Protocol):
    """A clip that brings with it what a loss needs to know of it: its transcript's ids, a teacher's state."""

    def more(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays ``(length, ...)`` by name; a clip without one of those of its row has an empty one."""
        ...

    def counts(self) -> Mapping[str, int]:
        """How much it has of what a loss is a mean over, by the names of :data:`COUNTS_OF_CLIPS`; known unread."""
        ...


class PlacedClip(NamedTuple):
    """A clip and the places ``[start, stop)`` of a sequence that it fills: those of one audio span.

    A clip of which text stands between two parts is placed twice, the same object.
    """

    start: int
    stop: int
    language: str
    clip: Clip
    first: int = 0
    """which of the vectors of the clip its first place takes; the next ones follow"""


class Span(NamedTuple):
    """A stretch ``[start, stop)`` of a sequence: one modality, one language, one role, trained or not."""

    start: int
    stop: int
    modality: Modality
    language: str
    role: Role
    trained: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """One document: ``ids`` int32 and ``trained`` bool, both ``(num_ids,)``, and the spans that cover them in order.

    ``trained[i]`` says that the model learns to write ``ids[i]`` from what stands before it; what stands there is
    ``read`` where it is given, int32 ``(num_ids,)``, else ``ids``. In the loss each counts ``loss_weight`` times.
    """

    ids: npt.NDArray[np.int32]
    trained: npt.NDArray[np.bool_]
    spans: tuple[Span, ...]
    task: str
    read: npt.NDArray[np.int32] | None = None
    loss_weight: float = 1.0
    clips: tuple[PlacedClip, ...] = ()
    """what fills the audio spans, in their order"""

    def __len__(self) -> int:
        return len(self.ids)

    def splits_audio(self, start: int, stop: int) -> bool:
        """Whether the part ``[start, stop)`` holds some places of a clip, and not all of them."""
        return any(clip.start < cut < clip.stop for clip in self.clips for cut in (start, stop))

    def window(self, start: int, stop: int) -> Sequence:
        """The part ``[start, stop)`` as a sequence of its own; it splits no clip."""
        assert not self.splits_audio(start, stop), f"[{start}, {stop}) splits a clip"
        spans = tuple(
            Span(max(span.start, start) - start, min(span.stop, stop) - start, span.modality, span.language, span.role,
                 span.trained)
            for span in self.spans
            if span.start < stop and span.stop > start
        )  # fmt: skip
        clips = tuple(
            clip._replace(start=clip.start - start, stop=clip.stop - start)
            for clip in self.clips
            if start <= clip.start and clip.stop <= stop
        )
        read = None if self.read is None else self.read[start:stop]
        return Sequence(self.ids[start:stop], self.trained[start:stop], spans, self.task, read, self.loss_weight, clips)


@dataclass(slots=True)
class _Words:
    """Text that is still to be tokenized, together with what stands beside it."""

    text: str
    tail: str
    """its end, which may be a known text"""
    span: tuple[Modality, str, Role, bool]


class SequenceBuilder:
    """Grows one sequence. Every call appends ids and their mask together; a mask is never found by scanning ids.

    A role and a language are set once for the turn being written (:meth:`turn`), and hold until they are set again.
    Texts of a conversation and of its template that no token stands between are tokenized together, as the tokenizer
    writes them; those of a plain document each by itself.
    """

    def __init__(self, encoder: TextEncoder | None, vocabulary: SpeechVocabulary | None, task: str) -> None:
        """Begin with nothing.

        Args:
            encoder: None for a model without text.
            vocabulary: None for a model of text alone.
        """
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._task = task
        self._ids = array("i")
        self._trained = bytearray()
        self._spans: list[Span] = []
        self._clips: list[PlacedClip] = []
        self._role: Role = "document"
        self._language = ""
        self._learns = False
        self._words: list[_Words] = []
        self._context = ""  # text before them, behind the last token, that has its ids
        self._behind_token = False
        self._strips = ("", "")  # what the template leaves out of the content at its beginning and at its end
        self._begins = False  # whether nothing of the content is there yet
        self._lead = ""  # what goes with its first word
        self._asked = False  # whether the text behind the last token holds a content

    @property
    def has_speech(self) -> bool:
        """Whether there is a vocabulary of units and markers to write with."""
        return self._vocabulary is not None

    def turn(self, role: Role, language: str, trained: bool) -> None:
        """What follows belongs to ``role`` in ``language``, and is trained or not."""
        self._role, self._language, self._learns = role, language, trained

    def in_language(self, language: str) -> None:
        """What follows, in the same turn, is in another language."""
        self._language = language

    def trained(self, trained: bool) -> None:
        """What follows, in the same turn, is trained or not."""
        self._learns = trained

    def add_text(self, text: str, after: str = "") -> None:
        """``after + text`` of a corpus or a user: it never becomes a unit, a marker or a control token."""
        if self._role == "document":
            self._write_words()
            self._append(self._text_encoder().encode(text, after), "text", self._learns)
            return
        if self._begins and self._strips[0]:
            after = _stripped(after, self._strips[0], str.lstrip)
            text = text if after else _stripped(text, self._strips[0], str.lstrip)
        if after + text:
            self._begins = False
            self._words.append(_Words(self._lead + after + text, text, self._text_span()))
            self._lead = ""

    def add_text_ids(self, ids: Seq[int]) -> None:
        """Text that a model wrote, by its ids: tokenized again, it might have others."""
        self._write_words()
        self._append(ids, "text", self._learns)
        self._context, self._behind_token, self._asked, self._begins, self._lead = "", True, False, False, ""

    def add_units(self, units: Units) -> None:
        """Units as the vocabulary writes them, merged or frame by frame; between ``<sosp>`` and ``<eosp>`` beside text.

        A textless model reads and writes no markers; merged, a run that goes on from the units before is one id. Where
        its vocabulary has every frame, durations are expanded here; units that a merged one reads are merged here.
        """
        vocabulary = self._speech_vocabulary()
        ids = array("i", vocabulary.unit_ids(as_written(units, vocabulary).ids).tobytes())
        if vocabulary.is_textless:
            repeats = vocabulary.merges_repeats and self._ids[-1:] == ids[:1]
            self._append(ids[1:] if repeats else ids, "speech", self._learns)
            return
        self._break()
        self._append((vocabulary.sosp,), "marker", self._learns)
        self._append(ids, "speech", self._learns)
        self._append((vocabulary.eosp,), "marker", self._learns)

    def add_marker(self, form: str) -> None:
        """A marker of a chain by its surface form, such as ``[question]``."""
        markers = self._speech_vocabulary().markers
        assert form in markers, f"the tokenizer has no marker {form}"
        self._break()
        self._append((markers[form],), "marker", self._learns)

    def add_template(self, ids: Seq[int], num_trained: int = 0) -> None:
        """What begins or ends a plain document; the first ``num_trained`` ids are learnt."""
        self._write_words()
        if num_trained:
            self._append(ids[:num_trained], "template", True)
        self._append(ids[num_trained:] if num_trained else ids, "template", False)

    def add_piece(self, piece: TemplatePiece, modality: Modality = "template") -> None:
        """A piece of a chat template, which ends the content before it; what ends an assistant's turn is learnt."""
        if self._words and self._words[-1].span[0] == "text" and self._strips[1]:
            last = self._words[-1]
            last.text = _stripped(last.text, self._strips[1], str.rstrip)
            last.tail = _stripped(last.tail, self._strips[1], str.rstrip)
        for index, part in enumerate(piece.parts):
            learns = index < piece.num_trained
            if isinstance(part, str):
                self._words.append(_Words(part, "", (modality, self._language, self._role, learns)))
            else:
                self._break()
                self._append((part,), modality, learns)

    def begin_content(self, piece: TemplatePiece) -> None:
        """What follows is the content behind a piece, whose :meth:`turn` was begun."""
        if self._role == "assistant":
            header = self._words[-1].text if self._words and self._words[-1].span[0] == "template" else ""
            self._write_words()  # a prompt ends here
            if header:  # what is tokenized next touches no more than that
                self._context, self._behind_token, self._asked = header, True, False
        self._strips, self._begins, self._lead = piece.strips, True, piece.lead

    def add_audio(self, num_places: int, placeholder_id: int, clip: Clip, first: int = 0) -> None:
        """Places that are never learnt, for as many vectors made of ``clip``, from its vector ``first`` on."""
        assert num_places > 0, "a clip without a place"
        self._break()
        start = len(self._ids)
        self._append([placeholder_id] * num_places, "audio", False)
        self._clips.append(PlacedClip(start, start + num_places, self._language, clip, first))

    def finish(self) -> Sequence:
        """The sequence as built so far."""
        self._write_words()
        ids = np.frombuffer(self._ids, dtype=np.int32).copy() if self._ids else np.zeros(0, dtype=np.int32)
        trained = np.frombuffer(bytes(self._trained), dtype=np.bool_)
        return Sequence(ids, trained, tuple(self._spans), self._task, clips=tuple(self._clips))

    def _break(self) -> None:
        """A token follows: no text before it touches one behind it."""
        if self._lead:
            self._words.append(_Words(self._lead, "", self._text_span()))
        self._write_words()
        self._context, self._behind_token, self._asked, self._begins, self._lead = "", True, False, False, ""

    def _text_span(self) -> tuple[Modality, str, Role, bool]:
        return "text", self._language, self._role, self._learns

    def _write_words(self) -> None:
        if not self._words:
            return
        texts, last = [words.text for words in self._words], self._words[-1]
        asked = [words.span[0] == "text" for words in self._words]
        tail = "" if self._asked or any(asked[:-1]) else last.tail
        self._asked = self._asked or any(asked)
        found = self._text_encoder().encode_parts(texts, self._context, self._behind_token, tail)
        for words, ids in zip(self._words, found, strict=True):
            self._append_span(ids, *words.span)
        self._context += "".join(texts)
        self._words = []

    def _append(self, ids: Seq[int], modality: Modality, trained: bool) -> None:
        self._append_span(ids, modality, self._language, self._role, trained)

    def _append_span(self, ids: Seq[int], modality: Modality, language: str, role: Role, trained: bool) -> None:
        start = len(self._ids)
        self._ids.extend(ids)
        stop = len(self._ids)
        if stop > start:
            self._trained.extend((b"\1" if trained else b"\0") * (stop - start))
            span = Span(start, stop, modality, language, role, trained)
            if modality == "template" and self._spans and self._spans[-1][2:] == span[2:]:
                span = span._replace(start=self._spans.pop().start)
            self._spans.append(span)

    def _text_encoder(self) -> TextEncoder:
        assert self._encoder is not None, f"the task {self._task} writes text, but the model has none"
        return self._encoder

    def _speech_vocabulary(self) -> SpeechVocabulary:
        assert self._vocabulary is not None, f"the task {self._task} writes speech, but there is no speech vocabulary"
        return self._vocabulary


def as_written(units: Units, vocabulary: SpeechVocabulary) -> Units:
    """Units with a row for each time that one is written: merged, or a frame each."""
    if vocabulary.merges_repeats:
        return units if units.durations is not None else merge_repeats(units)
    return expand_repeats(units)


def _stripped(text: str, space: str, strip: Callable[..., str]) -> str:
    """A text without empty lines at one of its ends; where ``space`` is a blank, without any space there."""
    return strip(text, None if space == " " else space)
