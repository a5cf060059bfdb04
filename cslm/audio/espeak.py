"""The espeak-ng synthesizer through ctypes: real audio in many languages and voices, with the time of every word.

The library and its data come in the wheel ``espeakng-loader`` (extra ``tts``); espeak-ng is GPL-3.0 and is only loaded
at run time. It keeps its state in global variables, so there is one per process.
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cslm.errors import MissingExtraError, UserError

_WORD_EVENT, _CLAUSE_END_EVENT = 1, 5
_SYNCHRONOUS_OUTPUT, _UTF8, _CHARACTER_POSITION = 2, 1, 1
_RATE_PARAMETER, _PITCH_PARAMETER = 1, 3
_AUDIBLE = 0.01
"""Share of the peak below which a sample counts as silence at the end of a clause."""

_TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['\u2019-][^\W_\u3400-\u9fff]+)*")
"""A word, or one Chinese character."""


@dataclass(frozen=True)
class Speech:
    """What the synthesizer said."""

    waveform: np.ndarray
    """int16 ``(num_samples,)``."""
    sample_rate_hz: int
    words: list[tuple[str, float, float]]
    """(word, start_sec, end_sec) in the order spoken; one entry per character for Chinese."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass
class _Engine:
    """The loaded library and what its callback has collected."""

    library: Any = None
    sample_rate_hz: int = 0
    voice: str | None = None
    chunks: list[bytes] = field(default_factory=list)
    events: list[tuple[int, int, int]] = field(default_factory=list)
    callback: Any = None


_ENGINE = _Engine()


class Synthesizer:
    """espeak-ng. The same calls in the same order after :meth:`reset` give the same samples, in any process.

    Not so for variants with ``breath`` (f2, f3, f5, Reed, whisper, ...), which differ a little from run to run.
    """

    def __init__(self) -> None:
        if _ENGINE.library is None:
            _load()

    @property
    def sample_rate_hz(self) -> int:
        """Rate of everything that it says."""
        return _ENGINE.sample_rate_hz

    def reset(self) -> None:
        """Load the library again: noise and flutter otherwise go on from what was said before. Takes 2 ms."""
        handle = _ENGINE.library._handle
        _ENGINE.library.espeak_Terminate()
        _ENGINE.library = _ENGINE.voice = None
        _ctypes.dlclose(handle)
        _load()

    def speak(self, text: str, voice: str = "gmw/en", rate_wpm: int = 175, pitch: int = 50) -> Speech:
        """Say ``text``.

        Args:
            text: one utterance.
            voice: a voice file of espeak-ng (``gmw/en-US``, ``sit/cmn``), with a variant or none (``gmw/en+f2``).
            rate_wpm: words per minute, 80 to 450.
            pitch: 0 to 99, 50 is the voice's own.

        Raises:
            UserError: an unknown voice, or a text without anything to say.
        """
        _set_voice(voice)
        library = _ENGINE.library
        library.espeak_SetParameter(_RATE_PARAMETER, int(rate_wpm), 0)
        library.espeak_SetParameter(_PITCH_PARAMETER, int(pitch), 0)
        _ENGINE.chunks.clear()
        _ENGINE.events.clear()
        data = text.encode("utf-8")
        status = library.espeak_Synth(data, len(data) + 1, 0, _CHARACTER_POSITION, 0, _UTF8, None, None)
        if status == 0:
            status = library.espeak_Synchronize()
        if status != 0:
            raise RuntimeError(f"espeak-ng could not say {text!r} (status {status})")
        if not _ENGINE.chunks or not _TOKEN.search(text):
            raise UserError(f"espeak-ng has nothing to say for the text {text!r}; write words in the voice's language")
        waveform = np.frombuffer(b"".join(_ENGINE.chunks), dtype=np.int16)
        return Speech(waveform, _ENGINE.sample_rate_hz, _words(text, waveform, _ENGINE.events, _ENGINE.sample_rate_hz))


def _load() -> None:
    try:
        loader = importlib.import_module("espeakng_loader")
    except ModuleNotFoundError:
        raise MissingExtraError("espeakng-loader", "tts", "the espeak-ng synthesizer") from None
    _ENGINE.library = ctypes.CDLL(loader.get_library_path())
    rate = _ENGINE.library.espeak_Initialize(_SYNCHRONOUS_OUTPUT, 0, str(loader.get_data_path()).encode(), 0)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng did not start (status {rate}) with the data in {loader.get_data_path()}")
    _ENGINE.sample_rate_hz = rate
    _ENGINE.callback = _Callback(_collect)
    _ENGINE.library.espeak_SetSynthCallback(_ENGINE.callback)


def _collect(samples: Any, num_samples: int, events: Any) -> int:
    if num_samples > 0:
        _ENGINE.chunks.append(ctypes.string_at(samples, 2 * num_samples))
    index = 0
    while events[index].type != 0:
        event = events[index]
        if event.type in (_WORD_EVENT, _CLAUSE_END_EVENT):
            _ENGINE.events.append((event.type, event.text_position, event.sample))
        index += 1
    return 0


def _set_voice(voice: str) -> None:
    if voice == _ENGINE.voice:
        return
    _ENGINE.voice = None
    if _ENGINE.library.espeak_SetVoiceByName(voice.encode("utf-8")) != 0:
        raise UserError(f"espeak-ng has no voice {voice!r}; it takes names such as gmw/en, gmw/en-US+f2 or sit/cmn+m3")
    _ENGINE.voice = voice


def _words(
    text: str, waveform: np.ndarray, events: list[tuple[int, int, int]], rate_hz: int
) -> list[tuple[str, float, float]]:
    """Word times. Words that espeak joins under one event (``in the``) share its time by their lengths."""
    tokens = [(match.start(), match.group()) for match in _TOKEN.finditer(text)]
    groups: list[tuple[int, int, list[str]]] = []
    index = 0
    spans = _event_spans(waveform, events)
    for number, (_, start, stop) in enumerate(spans):
        limit = spans[number + 1][0] if number + 1 < len(spans) else len(text)
        members = []
        while index < len(tokens) and tokens[index][0] < limit:
            members.append(tokens[index][1])
            index += 1
        if members:
            groups.append((start, stop, members))
        elif groups:
            groups[-1] = (groups[-1][0], stop, groups[-1][2])
    return [word for start, stop, members in groups for word in _share(members, start / rate_hz, stop / rate_hz)]


def _event_spans(waveform: np.ndarray, events: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """(text position, first sample, stop sample) of each word event; a pause at the end of a clause is left out."""
    spans = []
    threshold = _AUDIBLE * float(np.abs(waveform.astype(np.int32)).max(initial=1))
    for index, (kind, position, sample) in enumerate(events):
        if kind != _WORD_EVENT:
            continue
        end_of_speech = (_CLAUSE_END_EVENT, 0, len(waveform))
        following_kind, _, stop = events[index + 1] if index + 1 < len(events) else end_of_speech
        if following_kind == _CLAUSE_END_EVENT:
            audible = np.flatnonzero(np.abs(waveform[sample:stop].astype(np.int32)) > threshold)
            stop = sample + int(audible[-1]) + 1 if len(audible) else stop
        spans.append((position - 1, sample, max(stop, sample + 1)))
    return spans


def _share(members: list[str], start_sec: float, end_sec: float) -> list[tuple[str, float, float]]:
    lengths = np.cumsum([0] + [len(member) for member in members])
    times = [round(float(time), 4) for time in start_sec + lengths / lengths[-1] * (end_sec - start_sec)]
    return list(zip(members, times[:-1], times[1:], strict=True))
