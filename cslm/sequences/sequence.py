"""Sequences: ids and loss mask, appended side by side by the same call, in spans that know what they are."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

    from cslm.codecs.units import Units
    from cslm.sequences.text_encoder import TextEncoder
    from cslm.sequences.vocabulary import SpeechVocabulary

Modality = Literal["text", "speech", "marker", "template", "audio"]
Role = Literal["system", "user", "assistant", "document"]
LEARNT_MODALITIES: tuple[Modality, ...] = ("text", "speech", "marker", "template")
"""what a model may learn to write: never ``audio``, whose ids only keep places for vectors"""


class Clip(Protocol):
    """A waveform, or features of one, from which the vectors of an audio span come."""

    def read(self) -> npt.NDArray[np.float32]:
        """Samples ``(samples,)``, or features ``(frames, dims)``; asked for when its row is made."""
        ...


class PlacedClip(NamedTuple):
    """A clip and the places ``[start, stop)`` of a sequence that it fills: those of one audio span."""

    start: int
    stop: int
    language: str
    clip: Clip


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


class SequenceBuilder:
    """Grows one sequence. Every call appends ids and their mask together; a mask is never found by scanning ids.

    A role and a language are set once for the turn being written (:meth:`turn`), and hold until they are set again.
    """

    def __init__(self, encoder: TextEncoder, vocabulary: SpeechVocabulary | None, task: str) -> None:
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

    def __len__(self) -> int:
        return len(self._ids)

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
        self._append(self._encoder.encode(text, after), "text", self._learns)

    def add_units(self, units: Units) -> None:
        """``<sosp>``, the units frame by frame, ``<eosp>``."""
        vocabulary = self._speech_vocabulary()
        self._append((vocabulary.sosp,), "marker", self._learns)
        self._append(array("i", vocabulary.unit_ids(units.ids).tobytes()), "speech", self._learns)
        self._append((vocabulary.eosp,), "marker", self._learns)

    def add_marker(self, form: str) -> None:
        """A marker of a chain by its surface form, such as ``[question]``."""
        markers = self._speech_vocabulary().markers
        assert form in markers, f"the tokenizer has no marker {form}"
        self._append((markers[form],), "marker", self._learns)

    def add_template(self, ids: Seq[int], num_trained: int = 0) -> None:
        """A piece of a chat template; the first ``num_trained`` ids are learnt (the token that ends a turn)."""
        if num_trained:
            self._append(ids[:num_trained], "template", True)
        self._append(ids[num_trained:] if num_trained else ids, "template", False)

    def add_audio(self, num_places: int, placeholder_id: int, clip: Clip) -> None:
        """Places that are never learnt, for as many vectors made of ``clip``."""
        assert num_places > 0, "a clip without a place"
        start = len(self._ids)
        self._append([placeholder_id] * num_places, "audio", False)
        self._clips.append(PlacedClip(start, start + num_places, self._language, clip))

    def finish(self) -> Sequence:
        """The sequence as built so far."""
        ids = np.frombuffer(self._ids, dtype=np.int32).copy() if self._ids else np.zeros(0, dtype=np.int32)
        trained = np.frombuffer(bytes(self._trained), dtype=np.bool_)
        return Sequence(ids, trained, tuple(self._spans), self._task, clips=tuple(self._clips))

    def _append(self, ids: Seq[int], modality: Modality, trained: bool) -> None:
        start = len(self._ids)
        self._ids.extend(ids)
        stop = len(self._ids)
        if stop > start:
            self._trained.extend((b"\1" if trained else b"\0") * (stop - start))
            self._spans.append(Span(start, stop, modality, self._language, self._role, trained))

    def _speech_vocabulary(self) -> SpeechVocabulary:
        assert self._vocabulary is not None, f"the task {self._task} writes speech, but there is no speech vocabulary"
        return self._vocabulary
