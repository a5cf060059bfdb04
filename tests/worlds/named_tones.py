"""A synthesizer of tones: the pitch is the voice's, the timbre the language's; texts in angle brackets go wrong."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cslm.evaluation.recognizers import Clip
from cslm.synthesis.failure import Failure

RATE_HZ = 16000


class NamedTones:
    """Says each text as a tone of 0.3 s."""

    def __init__(
        self,
        names: Sequence[str] | dict[str, Sequence[str]] = ("anna", "bert", "carl"),
        names_are_speakers: bool = True,
        version: int = 1,
    ) -> None:
        self._names, self._version = names, version
        self.names_are_speakers = names_are_speakers
        self.said: list[tuple[str, str, str]] = []

    def voices(self, language: str) -> list[str]:
        """The names, of all languages or of each."""
        return list(self._names[language] if isinstance(self._names, dict) else self._names)

    def facts(self, language: str, voice: str) -> dict[str, Any]:
        """All that decides a tone."""
        return {"synthesizer": "tones", "version": self._version, "language": language, "voice": voice}

    def speak(self, texts: Sequence[str], language: str, voice: str) -> list[Clip | Failure]:
        """A tone a text."""
        self.said += [(text, language, voice) for text in texts]
        return [self._say(text, language, voice) for text in texts]

    def _say(self, text: str, language: str, voice: str) -> Clip | Failure:
        if text == "<fails>":
            return Failure("the voice cannot say it")
        length = {"<click>": 0.01, "<long>": 2.0}.get(text, 0.3)
        time = np.arange(round(length * RATE_HZ)) / RATE_HZ
        pitch_hz = 100 + zlib.crc32(voice.encode()) % 300
        overtone = 0.1 + 0.1 * (zlib.crc32(f"{language}{text}".encode()) % 3)
        waveform = 0.4 * np.sin(2 * np.pi * pitch_hz * time) + overtone * np.sin(4 * np.pi * pitch_hz * time)
        if text == "<silence>":
            waveform *= 0
        if text == "<nan>":
            waveform[3] = np.nan
        return waveform.astype(np.float32), RATE_HZ
