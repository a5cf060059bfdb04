"""Speech recognizers behind one interface: the model's own ASR, and ears that never met the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cslm.audio.clip import Clip as Clip
from cslm.generation.decoding import DecodingConfig
from cslm.generation.speech_tasks import SpeechTasks


class Recognizer(Protocol):
    """What turns clips into text."""

    def transcribe(self, clips: Sequence[Clip], languages: Sequence[str]) -> list[str]:
        """The text of each clip, which is in the language given for it (BCP 47); no samples, no text."""

    def hears(self, language: str) -> bool:
        """Whether it knows a language."""


class ModelRecognizer:
    """The model's own ASR on waveforms: tokenized again, so that it hears what a listener would."""

    def __init__(self, tasks: SpeechTasks, decoding: DecodingConfig) -> None:
        self._tasks, self._decoding = tasks, decoding

    def hears(self, language: str) -> bool:
        """Any language that it was trained on."""
        return True

    def transcribe(self, clips: Sequence[Clip], languages: Sequence[str], description: str | None = None) -> list[str]:
        """Tokenize and transcribe; a clip that is too short to hold a unit has no text."""
        codec = self._tasks.processor.codec
        assert codec is not None, "a model without a speech tokenizer cannot hear"
        shortest_sec = codec.min_num_samples / codec.sample_rate_hz
        heard = [i for i, (waveform, rate) in enumerate(clips) if len(waveform) > shortest_sec * rate + 1]
        units = self._tasks.processor.units_batch([clips[index] for index in heard])
        texts = self._tasks.transcribe(units, [languages[index] for index in heard], self._decoding, description)
        found = dict(zip(heard, texts, strict=True))
        return [found.get(index, "") for index in range(len(clips))]
