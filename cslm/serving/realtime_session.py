"""What a client of the Realtime protocol may set, and how it stands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.serving.received_audio import PCM_RATE_HZ
from cslm.serving.refusals import (
    MOST_SEED,
    Refusal,
    field_of,
    integer_of,
    number_of,
    refuse_unknown,
    refuse_unless,
    shown,
)
from cslm.serving.served_model import ServedModel, Wishes

EVENTS = ("units", "borders", "texts", "ids", "latency")
"""Kinds of ``cslm.*`` events that may be asked for."""

AUTO = "auto"
"""The voice that answers in the question's language."""

_FORMAT = {"type": "audio/pcm", "rate": PCM_RATE_HZ}
_FORMATS = (_FORMAT, {"type": "audio/pcm"})
_UNREAD: dict[str, tuple[Any, ...]] = {
    "instructions": ("",), "tools": ([],), "tool_choice": ("auto", "none"), "include": ([],), "reasoning": (),
    "parallel_tool_calls": (True, False), "prompt": (), "tracing": (), "truncation": ("auto",),
}  # fmt: skip
_LONGEST_TAG = 35  # characters, as BCP 47 says
_TOLD = {"type", "object", "id", "model", "expires_at"}


@dataclass(frozen=True)
class TurnDetection:
    """How the server finds the end of a turn."""

    threshold: float = 0.5
    prefix_padding_ms: float = 300.0
    silence_duration_ms: float = 600.0
    create_response: bool = True
    interrupt_response: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As the protocol tells it."""
        plain = dataclasses.asdict(self)
        plain |= {name: int(plain[name]) for name in ("prefix_padding_ms", "silence_duration_ms")}
        return {"type": "server_vad", **plain}


@dataclass(frozen=True)
class Session:
    """The settings of one connection."""

    with_sound: bool = True
    max_output_tokens: int | None = None
    detection: TurnDetection | None = TurnDetection()
    answer_language: str | None = None
    question_language: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    events: frozenset[str] = frozenset()

    def wishes(self, most: int) -> Wishes:
        """How a reply is wanted; of ``most`` ids at most."""
        ids = most if self.max_output_tokens is None else min(most, self.max_output_tokens)
        return Wishes(
            self.answer_language, self.question_language, ids, self.temperature, self.top_p, self.seed, self.with_sound
        )

    def updated(self, content: dict[str, Any], served: ServedModel) -> Session:
        """With what a ``session.update`` says.

        Raises:
            Refusal: what is unknown, of a wrong type, out of range, or not done here.
        """
        refuse_unless(content, {"type": ("realtime",), **_UNREAD}, "session")
        known = {"output_modalities", "max_output_tokens", "audio", "cslm", *_UNREAD, *_TOLD}
        refuse_unknown(content, known, "session")
        return self._changed(content, served)

    def for_response(self, content: dict[str, Any], served: ServedModel) -> Session:
        """With what a ``response.create`` says of its reply alone.

        Raises:
            Refusal: as :meth:`updated`.
        """
        unread: dict[str, tuple[Any, ...]] = {**_UNREAD, "conversation": (AUTO,), "input": (), "metadata": ({},)}
        refuse_unless(content, unread, "response")
        refuse_unknown(content, {"output_modalities", "max_output_tokens", "audio", "cslm", *unread}, "response")
        audio = field_of(content, "audio", dict, {})
        refuse_unless(audio, {"input": ({},)}, "response.audio")
        return self._changed(content, served)

    def to_dict(self, served: ServedModel, name: str, session_id: str) -> dict[str, Any]:
        """The whole session as it is told; ``name`` is the model's."""
        voice = self.answer_language or AUTO
        incoming = {"format": _FORMAT, "turn_detection": self.detection and self.detection.to_dict()}
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": name,
            "output_modalities": self.modalities,
            "max_output_tokens": self.max_output_tokens or "inf",
            "audio": {"input": incoming, "output": {"format": _FORMAT, "voice": voice}},
            "cslm": {
                "answer_language": self.answer_language,
                "question_language": self.question_language,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "seed": self.seed,
                "events": [name for name in EVENTS if name in self.events],
                **served.facts(),
            },
        }

    @property
    def modalities(self) -> list[str]:
        """As the protocol names them."""
        return ["audio" if self.with_sound else "text"]

    def _changed(self, content: dict[str, Any], served: ServedModel) -> Session:
        changes: dict[str, Any] = {}
        modalities = field_of(content, "output_modalities", list)
        if modalities is not None:
            if modalities not in (["audio"], ["text"], ["text", "audio"], ["audio", "text"]):
                message = f"output_modalities are {shown(modalities)}: give ['audio'] or ['text']"
                raise Refusal("unsupported_parameter", message, param="output_modalities")
            changes["with_sound"] = "audio" in modalities
        if content.get("max_output_tokens") == "inf":
            changes["max_output_tokens"] = None
        elif content.get("max_output_tokens") is not None:
            changes["max_output_tokens"] = integer_of(content, "max_output_tokens", 1, 1, 2**31)
        audio = field_of(content, "audio", dict, {})
        refuse_unknown(audio, {"input", "output"}, "audio")
        changes |= _incoming(field_of(audio, "input", dict, {}), served)
        changes |= _outgoing(field_of(audio, "output", dict, {}), served)
        changes |= _own(field_of(content, "cslm", dict, {}), served)
        return dataclasses.replace(self, **changes)


def known_language(said: str, served: ServedModel, name: str, spoken: bool) -> str:
    """A language that a client names.

    Args:
        spoken: whether the decoder has to have a voice for it.

    Raises:
        Refusal: no tag of a language, or one that is not spoken here.
    """
    try:
        if not said.strip() or len(said) > _LONGEST_TAG:
            raise UserError("a language is named by its tag: BCP 47 is wanted, as en, zh or pt-BR")
        if spoken and served.processor.speaks:
            served.processor.voice(said)
        else:
            language_tag(said)
    except UserError as error:
        raise Refusal("unknown_language", str(error), param=name) from None
    return said


def _incoming(content: dict[str, Any], served: ServedModel) -> dict[str, Any]:
    unread = {"format": _FORMATS, "noise_reduction": ()}
    refuse_unless(content, unread, "audio.input")
    refuse_unknown(content, {"turn_detection", "transcription", *unread}, "audio.input")
    changes: dict[str, Any] = {}
    if "turn_detection" in content:
        changes["detection"] = _detection(field_of(content, "turn_detection", dict))
    transcription = field_of(content, "transcription", dict, {})
    refuse_unknown(transcription, {"model", "language"}, "audio.input.transcription")
    if transcription.get("language") is not None:
        changes["question_language"] = known_language(
            field_of(transcription, "language", str), served, "language", spoken=False
        )
    return changes


def _detection(content: dict[str, Any] | None) -> TurnDetection | None:
    if content is None:
        return None
    refuse_unless(content, {"type": ("server_vad",), "idle_timeout_ms": ()}, "turn_detection")
    plain = TurnDetection()
    refuse_unknown(content, {"type", "idle_timeout_ms", *dataclasses.asdict(plain)}, "turn_detection")
    return TurnDetection(
        number_of(content, "threshold", plain.threshold, 0, 1),
        number_of(content, "prefix_padding_ms", plain.prefix_padding_ms, 0, 2000),
        number_of(content, "silence_duration_ms", plain.silence_duration_ms, 40, 10000),
        field_of(content, "create_response", bool, True),
        field_of(content, "interrupt_response", bool, True),
    )


def _outgoing(content: dict[str, Any], served: ServedModel) -> dict[str, Any]:
    unread = {"format": _FORMATS, "speed": (1, 1.0)}
    refuse_unless(content, unread, "audio.output")
    refuse_unknown(content, {"voice", *unread}, "audio.output")
    voice = field_of(content, "voice", str)
    if voice is None:
        return {}
    return {"answer_language": None if voice == AUTO else known_language(voice, served, "voice", spoken=True)}


def _own(content: dict[str, Any], served: ServedModel) -> dict[str, Any]:
    settable = {"answer_language", "question_language", "temperature", "top_p", "seed", "events"}
    refuse_unknown(content, {*settable, *served.facts()}, "cslm")
    changes: dict[str, Any] = {}
    if "answer_language" in content:
        said = field_of(content, "answer_language", str)
        changes["answer_language"] = None if said is None else known_language(said, served, "answer_language", True)
    if "question_language" in content:
        said = field_of(content, "question_language", str)
        changes["question_language"] = (
            None if said is None else known_language(said, served, "question_language", False)
        )
    if content.get("temperature") is not None:
        changes["temperature"] = number_of(content, "temperature", 0, 0, 4)
    if content.get("top_p") is not None:
        changes["top_p"] = number_of(content, "top_p", 1, 0.01, 1)
    if content.get("seed") is not None:
        changes["seed"] = integer_of(content, "seed", 0, 0, MOST_SEED)
    events = field_of(content, "events", list)
    if events is not None:
        for name in events:
            if name not in EVENTS:
                raise Refusal(
                    "unsupported_parameter", f"events has {shown(name)}: known are {list(EVENTS)}", param="events"
                )
        changes["events"] = frozenset(events)
    return changes
