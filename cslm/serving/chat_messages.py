"""The messages of a chat: spoken questions, and answers that this server gave and still knows."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from cslm.sequences.prompts import PastTurn
from cslm.serving.limits import LimitsConfig
from cslm.serving.received_audio import read_base64
from cslm.serving.refusals import Refusal, field_of, refuse_unknown, refuse_unless


class ChatMessages(NamedTuple):
    """One request: its question, and what was said before."""

    wav: bytes
    """of the question"""
    said: bytes
    """digest of all messages, the question's last"""
    past: tuple[PastTurn, ...] = ()


class _Given(NamedTuple):
    """The turns up to an answer, it included, and until when they are known."""

    past: tuple[PastTurn, ...]
    expires_at: float


class GivenAnswers:
    """What clients may go on from: answers by the name of their sound, or by their text. For any thread.

    The units of an answer are in no message, so they stay here: the last ``limits.num_kept_answers``, each for
    ``limits.session_timeout_sec``. An answer is found by all that was said up to it: no other messages lead there.
    """

    def __init__(self, limits: LimitsConfig, clock: Callable[[], float] = time.time) -> None:
        self._limits, self._clock = limits, clock
        self._given: OrderedDict[bytes, _Given] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, messages: ChatMessages, past: tuple[PastTurn, ...], text: str, audio_id: str | None) -> int:
        """Remember the answer to a chat; it is known until the time that is returned, in seconds since 1970.

        Args:
            past: the turns with the answer as the last.
            audio_id: of its sound; None for an answer in text alone, which is known by its text.
        """
        expires_at = self._clock() + self._limits.session_timeout_sec
        said = _behind(messages.said, _name(text, audio_id))
        with self._lock:
            self._given.pop(said, None)
            self._given[said] = _Given(past, expires_at)
            while len(self._given) > self._limits.num_kept_answers:
                self._given.popitem(last=False)
        return int(expires_at)

    def read(self, content: dict[str, Any]) -> ChatMessages:
        """The messages of a request.

        Raises:
            Refusal: roles that do not take turns, parts that are not done here, or a last answer that is not known
                behind these messages.
        """
        messages = field_of(content, "messages", list, [])
        if len(messages) % 2 == 0 or not all(isinstance(message, dict) for message in messages):
            told = f"there are {len(messages)} messages: give questions and answers in turn, a question last"
            raise Refusal("unsupported_messages", told, param="messages")
        said, before, wav = b"", b"", b""
        for place, message in enumerate(messages):
            where = f"messages[{place}]"
            before = said
            if place % 2 == 0:
                wav = self._question(message, where)
                said = _behind(said, wav)
            else:
                said = _behind(said, self._answer(message, where))
        return ChatMessages(wav, said, self._past(before, f"messages[{len(messages) - 2}]") if before else ())

    def _past(self, said: bytes, where: str) -> tuple[PastTurn, ...]:
        with self._lock:
            given = self._given.get(said)
        if given is None or given.expires_at < self._clock():
            told = (
                f"{where} is no answer that is known here behind the messages before it: they must be sent as they "
                "were, and it may be too old, broken off, or another server's"
            )
            raise Refusal("unknown_answer", told, param="messages")
        return given.past

    def _question(self, message: dict[str, Any], where: str) -> bytes:
        parts = message.get("content")
        part = parts[0] if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict) else {}
        if message.get("role") == "user":
            refuse_unknown(message, {"role", "content"}, where)
        if message.get("role") != "user" or part.get("type") != "input_audio":
            told = f"{where} must be the user's, with one part input_audio: this model is asked by speech"
            raise Refusal("unsupported_messages", told, param="messages")
        refuse_unknown(part, {"type", "input_audio"}, "content")
        audio = field_of(part, "input_audio", dict, {})
        refuse_unknown(audio, {"data", "format"}, "input_audio")
        if audio.get("format") != "wav":
            raise Refusal("unsupported_format", "input_audio.format must be wav", param="format")
        return read_base64(field_of(audio, "data", str, ""), self._limits.max_body_bytes, "input_audio.data")

    def _answer(self, message: dict[str, Any], where: str) -> bytes:
        """The name by which it is known."""
        if message.get("role") != "assistant":
            told = f"{where} must be the assistant's: give questions and answers in turn"
            raise Refusal("unsupported_messages", told, param="messages")
        refuse_unless(message, {"refusal": (), "tool_calls": ([],), "annotations": ([],)}, where)
        refuse_unknown(message, {"role", "content", "audio", "refusal", "tool_calls", "annotations"}, where)
        text, audio = field_of(message, "content", str), field_of(message, "audio", dict)
        if (text is None) == (audio is None):
            told = f"{where} must have audio with its id, or content where the answer was text alone"
            raise Refusal("unsupported_messages", told, param="messages")
        if set(audio or {}) - {"id"}:
            told = f"{where}.audio has more than an id, which alone is read here: give the id alone"
            raise Refusal("unknown_parameter", told, param="audio")
        return _name(text or "", None if audio is None else field_of(audio, "id", str, ""))


def _name(text: str, audio_id: str | None) -> bytes:
    return f"text {text}".encode() if audio_id is None else f"audio {audio_id}".encode()


def _behind(said: bytes, message: bytes) -> bytes:
    """The digest of one message more; each part has a length of its own, so that no two conversations have one."""
    return hashlib.sha256(said + hashlib.sha256(message).digest()).digest()
