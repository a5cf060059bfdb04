"""A question in pieces: its units, and the model's reading of them, while it is still spoken.

Where every unit depends on a bounded part of the clip (:func:`~cslm.codecs.codec.reach_of`), those that nothing to come
can change are read at once. Units are those of the whole clip. For other codecs everything waits for the end.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard, cast

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from cslm.audio.waveform import RESAMPLER_QUALITY
from cslm.codecs.codec import reach_of
from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.generation.decoding import context_length
from cslm.generation.forward_passes import ForwardPasses
from cslm.generation.processor import Audio, CSLMProcessor, checked_rate, mono_float
from cslm.sequences.prompts import PastTurn
from cslm.sequences.sequence import as_written

AudioPieces = Iterable[tuple[NDArray[Any], int]]
"""Mono waveforms ``(num_samples,)`` of one sample rate in Hz, one after the other as they are heard."""

Question = Audio | AudioPieces

_READ_AT_ONCE = 8  # ids that are worth a forward pass of their own
_GUESSED_AT_ONCE = 6  # ids of the transcript that are written in advance, whenever more was read


def comes_in_pieces(question: Question) -> TypeGuard[AudioPieces]:
    """Whether a question is an iterable of pieces: not a path, nor a waveform with its rate."""
    return not isinstance(question, str | os.PathLike | tuple)


def checked_pieces(pieces: AudioPieces) -> Iterator[tuple[NDArray[Any], int]]:
    """The same pieces, of one sample rate that sound can have.

    Raises:
        UserError: no pieces of sound.
    """
    if not isinstance(pieces, Iterable):
        raise UserError(f"the question is a {type(pieces).__name__}: give a path, (samples, rate), or pieces of sound")
    first = None
    for piece in pieces:
        if not isinstance(piece, tuple) or len(piece) != 2 or not isinstance(piece[0], np.ndarray):
            raise UserError("a piece of the question is no pair (samples, rate), the samples an array: give such pairs")
        if first is None:
            first = piece[1]
            checked_rate(first)
        elif piece[1] != first:
            raise UserError(f"a piece of the question has {piece[1]} Hz, the first {first}: give one rate")
        yield piece


class Listener:
    """Takes the pieces of one question."""

    def __init__(self, processor: CSLMProcessor) -> None:
        self._processor, self._codec = processor, processor.speech_tokenizer()
        self._reach = reach_of(self._codec)
        self._hop = round(self._codec.sample_rate_hz / self._codec.frame_rate_hz)
        self._rate: int | None = None
        self._resampler: Any = None
        self._samples = np.zeros(0, np.float32)
        self._rows = np.zeros((0, len(self._codec.codebook_sizes)), np.int64)  # a row a frame, certain

    @property
    def hears_ahead(self) -> bool:
        """Whether units are known before the end."""
        return self._reach is not None

    def push(self, waveform: NDArray[Any], sample_rate_hz: int) -> Units:
        """One piece more; the units so far, as the language model reads them, that nothing to come can change.

        Raises:
            UserError: no mono samples, or another rate than before.
        """
        if self._rate is None:
            self._rate = sample_rate_hz
            if sample_rate_hz != self._codec.sample_rate_hz:
                rates = (sample_rate_hz, self._codec.sample_rate_hz)
                self._resampler = soxr.ResampleStream(*rates, 1, "float32", RESAMPLER_QUALITY)
        elif sample_rate_hz != self._rate:
            raise UserError(f"a piece of the question has {sample_rate_hz} Hz, the first {self._rate}: give one rate")
        samples = mono_float(waveform) if len(waveform) else np.zeros(0, np.float32)
        self._append(samples, last=False)
        if self._reach is not None:
            self._extend(self._reach)
        return self._written()

    def finish(self) -> Units:
        """The units of the whole question.

        Raises:
            UserError: too short to hold speech.
        """
        self._append(np.zeros(0, np.float32), last=True)
        whole = (self._samples, self._codec.sample_rate_hz)
        if self._reach is None or len(self._samples) < self._codec.min_num_samples:
            return self._processor.units(whole if len(self._samples) else (np.zeros(1, np.float32), whole[1]))
        self._extend(None)
        return self._written()

    def _append(self, samples: NDArray[np.float32], last: bool) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        self._samples = np.concatenate([self._samples, samples])

    def _extend(self, reach: int | None) -> None:
        """Encode the frames that ``reach`` samples follow, or all that are left, with what comes before them."""
        known, back = len(self._rows), math.ceil((self._reach or 0) / self._hop)
        first = max(0, known - back)
        window = self._samples[first * self._hop :]
        if len(window) < self._codec.min_num_samples:
            return
        rows = self._codec.encode([window])[0].ids
        stop = len(rows)
        if reach is not None:
            stop = min(stop, (len(self._samples) - reach) // self._hop - first)
        if stop > known - first:
            self._rows = np.concatenate([self._rows, rows[known - first : stop]])

    def _written(self) -> Units:
        return as_written(Units(self._rows), self._processor.vocabulary)


class Beginning(NamedTuple):
    """What is known of a prompt before the question is over."""

    prompt: NDArray[np.int32]
    """as it would be if the question ended here: ``(num_ids,)``"""
    num_certain: int
    """ids of it that nothing to come can change"""
    writes_transcript: bool
    """whether the reply begins with the transcript of the question"""


class ReadAhead:
    """The beginning of one prompt, read by the model piece by piece; and the beginning of the reply, as it may be.

    A reply that begins with the transcript can be foretold while the question is spoken. At the end one forward pass
    checks what was foretold (as in speculative decoding, Leviathan et al. 2023), so that the ids are those of a reply
    to the whole question, and a long transcript does not make the answer later.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._passes: ForwardPasses | None = None
        self._read: NDArray[np.int32] = np.zeros(0, np.int32)
        self._foretold: list[int] = []

    @property
    def num_ids(self) -> int:
        """Ids that were read."""
        return len(self._read)

    @property
    def foretold(self) -> tuple[int, ...]:
        """Ids with which the reply may begin."""
        return tuple(self._foretold)

    @torch.inference_mode()
    def read(self, beginning: Beginning, foretells: bool = True) -> None:
        """Read what is certain, if enough of it is new.

        Args:
            foretells: whether there is time to foretell the reply too: some passes more.
        """
        ids = beginning.prompt[: beginning.num_certain]
        if len(ids) - len(self._read) < _READ_AT_ONCE:
            return
        assert np.array_equal(ids[: len(self._read)], self._read), "what was read is no longer the beginning"
        if self._passes is None:
            self._passes = ForwardPasses(self._model, [ids])
        else:
            self._passes.extend(ids[len(self._read) :])
        self._passes.read_ahead()
        self._read = ids
        if foretells and beginning.writes_transcript and self._passes.can_guess:
            self._foretell(self._passes, beginning.prompt)

    def _foretell(self, passes: ForwardPasses, prompt: NDArray[np.int32]) -> None:
        """Go on from what was foretold before, as far as it still is the most likely, and some ids further."""
        before, found, left = self._foretold, list[int](), _GUESSED_AT_ONCE
        passes.extend(prompt[len(self._read) :])
        passes.guess(before)
        while left and len(prompt) + len(found) < (context_length(self._model) or math.inf):
            found.append(int(passes.next_logits().argmax()))
            passes.append(torch.tensor(found[-1:]))
            left -= found != before[: len(found)]
        self._foretold = found
        passes.rewind(len(self._read))

    def fits(self, prompt: NDArray[np.int32]) -> bool:
        """Whether what was read is the beginning of this prompt."""
        return len(prompt) > len(self._read) and np.array_equal(prompt[: len(self._read)], self._read)

    @torch.inference_mode()
    def begun(self, prompt: NDArray[np.int32]) -> ForwardPasses | None:
        """The passes, which know the whole prompt now; None where nothing of it was read."""
        if self._passes is None:
            return None
        assert np.array_equal(prompt[: len(self._read)], self._read), "what was read is no beginning of the prompt"
        self._passes.extend(prompt[len(self._read) :])
        if self._foretold:
            room = (context_length(self._model) or math.inf) - len(prompt)
            self._passes.guess([token_id for place, token_id in enumerate(self._foretold) if place < room])
        return self._passes


class Heard(NamedTuple):
    """A question that is over."""

    units: Units
    ahead: ReadAhead | None
    """what has read the beginning of its prompt, if anything was"""


def hear(
    model: Any,
    processor: CSLMProcessor,
    question: Question,
    question_language: str | None,
    answer_language: str | None,
    past: Sequence[PastTurn] = (),
) -> Heard:
    """Take in a question, whole or in pieces, and read ahead where that is possible.

    Raises:
        UserError: a recording or a piece that cannot be used.
    """
    if not comes_in_pieces(question):
        return Heard(processor.units(cast(Audio, question)), None)
    listener, ahead = Listener(processor), ReadAhead(model)
    for waveform, rate in checked_pieces(question):
        units = listener.push(waveform, rate)
        if question_language is not None and len(units):
            asked = (question_language, answer_language or question_language)
            ahead.read(beginning_of(processor, units, *asked, past))
    return Heard(listener.finish(), ahead if ahead.num_ids else None)


def beginning_of(
    processor: CSLMProcessor,
    units: Units,
    question_language: str,
    answer_language: str,
    past: Sequence[PastTurn] = (),
) -> Beginning:
    """What is known of the prompt of a question that goes on behind these units."""
    prompt = processor.question_prompt(units, question_language, answer_language, past)
    places = [place for place, token_id in enumerate(prompt.tolist()) if processor.vocabulary.is_unit(token_id)]
    writes_transcript = processor.chain.segments[0].field == "question_text"
    return Beginning(prompt, places[-1] + 1, writes_transcript)
