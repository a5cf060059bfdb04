"""Speech that is made window by window, beside the whole: what differs, and what is heard where windows meet.

On answers that the model gave, by the checkpoint's own decoder, a row of units at a time.

- ``log_mel_difference``: the largest difference of a log-mel bin between any window and the whole utterance decoded at
  once, of each answer; ``fp32``, and ``fp64`` with the nets in double precision.
- ``joints``: the largest step from one sample to the next at a joint, by the largest inside of the same answer
  (``answers``), and of one unit that goes on for 60 rows (``sustained``: those units that the answers hold most often,
  by language). ``sustained_level``: the level around joints, over 23 ms, by that of the whole tone, lowest and highest.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cslm.benchmarks.timed_reply import spread
from cslm.codecs.units import Units
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.decoder.speech_stream import SpeechStream

SUSTAINED_UNITS = 8
"""of each language"""
_ROWS = 60
_LEVEL = 512  # samples
_BEGINNING = 4000  # samples at either end of a sustained unit that are no part of it
_SILENT = 1e-3  # a unit whose tone has no more than this level is silence


class _Listening(nn.Module):
    """In the place of a vocoder: keeps the spectrograms that it is given, and makes silence."""

    is_trained, lead = False, 0

    def __init__(self, reach: int, hop_length: int) -> None:
        super().__init__()
        self.reach, self._hop = reach, hop_length
        self.windows: list[tuple[int, torch.Tensor]] = []

    def forward(
        self, log_mel: torch.Tensor, lengths: list[int], seeds: list[int], first_frame: int = 0, carried: Any = None
    ) -> tuple[torch.Tensor, None]:
        self.windows.append((first_frame, log_mel[0]))
        return log_mel.new_zeros(len(log_mel), log_mel.shape[1] * self._hop), None


def joined_speech(processor: Any, answers: Sequence[tuple[str, Sequence[Units]]]) -> dict[str, Any]:
    """The figures of this module, of answers: the language, and the units as they came."""
    decoder = processor.speech_decoder()
    spoken = [
        (processor.voice(language), Units(np.concatenate([one.ids for one in units]))) for language, units in answers
    ]
    single, double = copy.deepcopy(decoder), copy.deepcopy(decoder).double()
    differences = [
        spread([log_mel_difference(one, units, voice) for voice, units in spoken]) for one in (single, double)
    ]
    steps = [step_at_joints(*streamed(decoder, units, voice)) for voice, units in spoken]
    tones = [streamed(decoder, Units(np.repeat(row[None], _ROWS, 0)), voice) for voice, row in _most_often(spoken)]
    steady = [(tone[_BEGINNING:-_BEGINNING], joints - _BEGINNING) for tone, joints in tones]
    steady = [(tone, joints) for tone, joints in steady if len(tone) > _LEVEL and _level(tone) > _SILENT]
    levels = [level for tone, joints in steady for level in levels_at_joints(tone, joints)]
    return {
        "log_mel_difference": dict(zip(("fp32", "fp64"), differences, strict=True)),
        "joints": {
            "answers": spread(steps),
            "sustained": spread([step_at_joints(tone, joints) for tone, joints in steady]),
            "sustained_level": [min(levels), max(levels)] if levels else None,
        },
    }


def log_mel_difference(decoder: SpeechDecoder, units: Units, voice: str) -> float:
    """The largest between the windows of a stream and the whole, in natural log-mel; the decoder loses its vocoder."""
    decoder.vocoder = _Listening(decoder.vocoder.reach, decoder.grid.hop_length)
    decoder.decode(units, voice)
    ((_, whole),) = decoder.vocoder.windows
    decoder.vocoder.windows = []
    streamed(decoder, units, voice)
    return max(
        float((window - whole[first : first + len(window)]).abs().max()) for first, window in decoder.vocoder.windows
    )


def streamed(decoder: SpeechDecoder, units: Units, voice: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The samples of an utterance made a row at a time, and the first sample of each window but the first."""
    stream = SpeechStream(decoder, voice)
    parts = [stream.push(Units(units.ids[row : row + 1])).samples for row in range(len(units))]
    parts.append(stream.finish().samples)
    samples = np.concatenate(parts)
    ends = np.unique(np.cumsum([len(part) for part in parts]))
    return samples, ends[(ends > 0) & (ends < len(samples))]


def step_at_joints(samples: NDArray[np.float32], joints: NDArray[np.int64]) -> float | None:
    """The largest step at a joint by the largest inside; None without joints, or where nothing moves inside."""
    joints = joints[(joints > 0) & (joints < len(samples))]
    steps = np.abs(np.diff(samples))
    inside = np.delete(steps, joints - 1)
    if not len(joints) or not inside.any():
        return None
    return float(steps[joints - 1].max() / inside.max())


def levels_at_joints(samples: NDArray[np.float32], joints: NDArray[np.int64]) -> list[float]:
    """The level around each joint by that of all samples."""
    half = _LEVEL // 2
    joints = joints[(joints >= half) & (joints <= len(samples) - half)]
    return [_level(samples[joint - half : joint + half]) / _level(samples) for joint in joints]


def _level(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _most_often(spoken: Sequence[tuple[str, Units]]) -> list[tuple[str, NDArray[np.int64]]]:
    """Voices with the rows of units that their answers hold most often."""
    found = []
    for voice in dict.fromkeys(voice for voice, _ in spoken):
        rows = Counter(tuple(row) for name, units in spoken if name == voice for row in units.ids.tolist())
        found += [(voice, np.array(row)) for row, _ in rows.most_common(SUSTAINED_UNITS)]
    return found
