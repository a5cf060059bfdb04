"""How a textless model goes on speaking: the units of a recording, what the model writes behind them, and its sound.

A prompt is the units of the recording as a document begins, without what ends one. Where repeats are merged the model
writes no durations: they are those that the speech decoder predicts, or else all as long as the recording's on average.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.codecs.units import Units, cut, expand_repeats, merge_repeats
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig, context_length
from cslm.generation.processor import Audio, CSLMProcessor
from cslm.generation.speech_tasks import SpeechTasks

CONTINUING = DecodingConfig(temperature=0.8)
"""drawn: the most likely unit each time soon goes round in a circle"""


@dataclass(frozen=True)
class Continuation:
    """What a textless model says behind a recording."""

    prompt: Units
    """The recording as the model read it."""
    units: Units
    """What the model wrote, with durations where repeats are merged."""
    is_whole: bool
    """Whether the model ended the document; False where it was cut, after the seconds that were asked for."""
    prompt_waveform: NDArray[np.float32] | None = None
    """The recording as its units sound ``(num_samples,)``; None where no sound was asked for."""
    waveform: NDArray[np.float32] | None = None
    """The continuation ``(num_samples,)``, made together with the recording; None likewise."""
    sample_rate_hz: int | None = None
    """Samples a second of both."""


class SpeechContinuer:
    """Goes on from recordings, in batches."""

    def __init__(self, tasks: SpeechTasks, seconds: float, voice: str | None = None) -> None:
        """Say how far.

        Args:
            seconds: a continuation lasts so long at most.
            voice: of the speech decoder, if the checkpoint has one; None is its first.

        Raises:
            UserError: a model with text, no card, fewer ``seconds`` than a frame, or a voice that is not there.
        """
        self._tasks, self._processor = tasks, tasks.processor
        if not self._processor.form.is_textless:
            raise UserError(f"{self._processor.name} has text: ask it a question (respond); textless models continue")
        rate_hz = self._processor.speech_tokenizer().frame_rate_hz
        if not (math.isfinite(seconds) and seconds * rate_hz >= 1):
            raise UserError(f"seconds is {seconds}: give {1 / rate_hz:g} (one frame of the speech tokenizer) or more")
        self._num_frames = int(seconds * rate_hz + 1e-6)
        self._seconds = seconds
        self._sound = _Sound(self._processor, voice)

    def go_on(
        self,
        audios: Sequence[Audio],
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        with_sound: bool = True,
    ) -> list[Continuation]:
        """The continuation of each recording.

        Args:
            audios: paths, or mono waveforms and their sample rates in Hz.
            decoding: drawn with temperature 0.8 by default.
            generator: for drawing, each continuation on its own, and for the decoder's noise (default: seed 0).
            with_sound: whether they are heard, or units are enough.

        Raises:
            UserError: a recording that cannot be used; more seconds than ``decoding.max_new_tokens`` or the model's
                context hold; nothing that turns units into sound.
        """
        prompts = self._processor.units_batch(audios)
        if with_sound:
            self._sound.check(prompts[0])
        said = self._say(prompts, decoding or CONTINUING, generator)
        if not with_sound:
            return said
        waveforms = self._sound.make([(one.prompt, one.units) for one in said], generator)
        return [
            dataclasses.replace(one, prompt_waveform=before, waveform=behind, sample_rate_hz=self._sound.sample_rate_hz)
            for one, (before, behind) in zip(said, waveforms, strict=True)
        ]

    def _say(
        self, prompts: Sequence[Units], decoding: DecodingConfig, generator: torch.Generator | None
    ) -> list[Continuation]:
        limits = [self._most_ids(prompt, decoding) for prompt in prompts]
        written = self._tasks.continue_units(prompts, limits, decoding, generator)
        said = []
        for prompt, (units, is_whole) in zip(prompts, written, strict=True):
            lasting = self._sound.with_durations(units, prompt)
            kept = cut(lasting, 0, self._num_frames)
            uncut = kept.num_frames_total == lasting.num_frames_total
            said.append(Continuation(prompt, kept, is_whole and uncut))
        return said

    def _most_ids(self, prompt: Units, decoding: DecodingConfig) -> int:
        """How many ids the seconds are: merged, as many as they would be in the recording.

        Raises:
            UserError: more than ``decoding.max_new_tokens``, or than the context holds behind the recording.
        """
        runs = _mean_run(prompt) if prompt.durations is not None else 1.0
        wanted = math.ceil(self._num_frames / runs) * prompt.num_codebooks
        asked = f"seconds {self._seconds:g} are {wanted:,} ids"
        if wanted > decoding.max_new_tokens:
            raise UserError(
                f"{asked}, and decoding.max_new_tokens is {decoding.max_new_tokens:,}: raise it, or ask for less"
            )
        context, heard = context_length(self._tasks.model), len(prompt) * prompt.num_codebooks
        if context is not None and heard + wanted > context:
            raise UserError(
                f"{asked}, and the recording {heard:,}: together more than the model's context of {context:,}; give a "
                "shorter recording, or ask for less"
            )
        return wanted


class _Sound:
    """Units to sound, by the checkpoint's speech decoder or else by its speech tokenizer."""

    def __init__(self, processor: CSLMProcessor, voice: str | None) -> None:
        self._codec, self._decoder = processor.speech_tokenizer(), processor.decoder
        if self._decoder is not None:
            self._voice = processor.voice(voice or self._decoder.voices[0])
        elif voice is not None:
            raise UserError(f"voice is {voice!r}, and {processor.name} has no speech decoder, which has voices")

    @property
    def sample_rate_hz(self) -> int:
        return self._codec.sample_rate_hz if self._decoder is None else self._decoder.sample_rate_hz

    def check(self, prompt: Units) -> None:
        """Make sure that there is a way to sound.

        Raises:
            UserError: neither a speech decoder, nor a speech tokenizer that decodes.
        """
        if self._decoder is None:
            self._codec.decode(cut(prompt, 0, 1))

    def with_durations(self, units: Units, prompt: Units) -> Units:
        """Written units, merged as the prompt is or not, with the frames that each lasts."""
        if prompt.durations is None or not len(units):
            return units if prompt.durations is None else Units(units.ids, np.zeros(0, np.int64))
        if self._decoder is not None:
            return self._decoder.predict_durations(units, self._voice)
        ends = np.round(np.arange(len(units) + 1) * _mean_run(prompt)).astype(np.int64)
        return Units(units.ids, np.diff(ends).clip(min=1))

    def make(
        self, pairs: Sequence[tuple[Units, Units]], generator: torch.Generator | None
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The waveforms of each recording and of its continuation, which are spoken in one."""
        wholes = [Units(np.concatenate([expand_repeats(part).ids for part in pair])) for pair in pairs]
        if self._decoder is None:
            waveforms: list[Any] = [self._codec.decode(whole) for whole in wholes]
        else:
            lasting = [merge_repeats(whole) if whole.num_codebooks == 1 else whole for whole in wholes]
            waveforms = self._decoder.decode_batch(lasting, [self._voice] * len(lasting), generator)
        found = []
        for (prompt, _), waveform in zip(pairs, waveforms, strict=True):
            start = round(prompt.num_frames_total * self.sample_rate_hz / self._codec.frame_rate_hz)
            found.append((waveform[:start], waveform[start:]))
        return found


def _mean_run(units: Units) -> float:
    """Frames that a row stands for, on average."""
    return units.num_frames_total / len(units)
