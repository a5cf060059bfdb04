"""The village's lines without a synthesizer: a second each, no audio; for what only the texts and documents show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cslm.corpora.manifest import Utterance
from cslm.village.speech import Line


def speak_nothing(lines: list[Line], folder: Path, num_workers: int) -> Iterator[Utterance]:
    for line in lines:
        yield Utterance(
            line.id, line.path, line.text, line.language, duration_sec=1.0, speaker=line.voice, group=line.group
        )
