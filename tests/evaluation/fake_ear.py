"""An ear that hears the same in everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class FakeEar:
    """Hears its first sentence in every English clip that holds any sound."""

    def __init__(self, sentences: Iterable[str], num_workers: int) -> None:
        self.sentence = next(iter(sentences))
        assert num_workers > 0

    def hears(self, language: str) -> bool:
        return language == "en"

    def transcribe(self, clips: Sequence[Any], languages: Sequence[str]) -> list[str]:
        assert set(languages) <= {"en"}
        return [self.sentence if len(waveform) else "" for waveform, _ in clips]
