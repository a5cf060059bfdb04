"""Pairs as folders of recordings in slamkit's layout, so that other tools score them: whole stories, right one first.

``KIND-DIRECTION/0_correct.wav``, ``1_incorrect.wav``, ``2_correct.wav``, ...: by their numbers, each two are a pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.corpora.manifest import Utterance
from cslm.files.progress import progress_bar

FOLDERS = "slamkit"


def write_pair_recordings(
    pairs: Sequence[Mapping[str, Any]],
    utterances: Mapping[str, Utterance],
    output: Path,
    sample_rate_hz: int,
    pause_sec: float,
) -> None:
    """Write two recordings a pair below ``slamkit/``.

    Args:
        pairs: records of :func:`cslm.synthesis.drawn_pairs.story_pairs`.
        utterances: by id; paths are relative to ``output``.
        output: folder of the corpus.
        sample_rate_hz: of the recordings: other tools do not resample.
        pause_sec: silence between sentences.

    Raises:
        UserError: a recording cannot be read.
    """
    numbers: dict[str, int] = {}
    for pair in progress_bar(pairs, len(pairs), "writing recordings of pairs"):
        folder = f"{pair['kind']}-{pair['direction']}"
        number = numbers.get(folder, 0)
        numbers[folder] = number + 2
        for place, (word, ending) in enumerate((("correct", "ending"), ("incorrect", "wrong_ending"))):
            sentences = [utterances[name] for name in (*pair["prefix"], pair[ending])]
            waveform = _joined(sentences, output, sample_rate_hz, pause_sec)
            path = output / FOLDERS / folder / f"{number + place}_{word}.wav"
            save_waveform(path, waveform, sample_rate_hz, durable=False)


def _joined(sentences: Sequence[Utterance], output: Path, sample_rate_hz: int, pause_sec: float) -> np.ndarray:
    pause = np.zeros(round(pause_sec * sample_rate_hz), np.float32)
    pieces: list[np.ndarray] = []
    for one in sentences:
        waveform, _ = load_waveform(
            one.audio if "://" in one.audio else output / one.audio,
            one.start_sec,
            one.duration_sec,
            sample_rate_hz,
            channel=one.channel,
        )
        pieces += [pause, waveform] if pieces else [waveform]
    return np.concatenate(pieces)
