"""The model as requests see it: what :mod:`cslm.generation` does with one, done on the engine's rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.codecs.codec import reach_of
from cslm.codecs.units import Units
from cslm.decoder.speech_stream import SpeechStream
from cslm.generation.decoding import DecodingConfig, Generated, ReplyRules, context_length
from cslm.generation.events import QuestionHeard, ReplyEvent
from cslm.generation.forward_passes import ForwardPasses
from cslm.generation.listening import ReadAhead
from cslm.generation.processor import CSLMProcessor
from cslm.generation.speaker import Speaker, Stream
from cslm.generation.speech_tasks import Grammars, SpeechTasks, num_head_rows
from cslm.generation.streaming import ReplyTeller
from cslm.generation.token_choice import reply_generators
from cslm.generation.window_thread import WindowThread
from cslm.sequences.prompts import PastTurn
from cslm.serving.decoder_process import DecoderProcess
from cslm.serving.engine import Engine
from cslm.serving.limits import LimitsConfig
from cslm.serving.places import Place, Places
from cslm.serving.refusals import cut_short
from cslm.serving.rows import EngineError, Kind, Row

_FRAMES_A_TIME = 8  # of units, handed to the decoder together


@dataclass(frozen=True)
class Wishes:
    """How one reply is wanted."""

    answer_language: str | None = None
    """None: the question's"""
    question_language: str | None = None
    """None: recognised"""
    max_new_tokens: int = 2048
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    """for drawing, and for the noise of the decoder"""
    with_sound: bool = True
    """whether it is heard, where the model speaks"""

    @property
    def decoding(self) -> DecodingConfig:
        """As generation takes it."""
        return DecodingConfig(self.max_new_tokens, self.temperature, self.top_p)


@dataclass(frozen=True)
class HeardQuestion:
    """A question that is over."""

    units: Units
    ahead: ReadAhead | None = None
    """what has read the beginning of its prompt, if anything was"""


class EngineTasks(SpeechTasks):
    """The tasks of one request. What they write is written by the engine, and ends when the place is cancelled."""

    def __init__(self, served: ServedModel, place: Place) -> None:
        super().__init__(served.model, served.processor, served.grammars)
        self._engine, self._place = served.engine, place
        self.row: Row | None = None
        """of the answer that is being written"""
        self.is_whole = True
        """whether all that was written last came to its end"""

    def write_answer(
        self,
        question: Units,
        question_language: str,
        answer_language: str,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        past: Sequence[PastTurn] = (),
        ahead: ReadAhead | None = None,
    ) -> Generator[int, None, None]:
        """As :meth:`SpeechTasks.write_answer`."""
        prompt = self.processor.question_prompt(question, question_language, answer_language, past)
        self._place.prompt = prompt
        decoding = decoding or DecodingConfig()
        begun = None if ahead is None else self._begun(ahead, prompt)
        kind = Kind("anything", frozenset(self.processor.end_ids), decoding.temperature, decoding.top_p)
        generators = [generator] if generator is not None else []
        (self.row,) = self._engine.write(self._place, [prompt], kind, decoding.max_new_tokens, generators, begun)
        for written in self.row:
            yield written.token_id

    def _begun(self, ahead: ReadAhead, prompt: NDArray[np.int32]) -> ForwardPasses | None:
        """The passes that go on from what was read; None where they failed, and all is read again."""
        begun: Future[ForwardPasses | None] = self._engine.call(lambda: ahead.begun(prompt))
        try:
            return begun.result()
        except EngineError:
            return None

    def write_speech(
        self, text: str, language: str, decoding: DecodingConfig, generator: torch.Generator
    ) -> Generator[int, None, None]:
        """The ids that say a text, as :meth:`SpeechTasks.synthesize` writes them, each as soon as it is there."""
        prompt = self.processor.prompt("tts", language, text=text)
        kind = Kind("speech", frozenset([self.processor.vocabulary.eosp]), decoding.temperature, decoding.top_p)
        drawing = reply_generators(generator, 1)
        (row,) = self._engine.write(self._place, [prompt], kind, decoding.max_new_tokens, drawing)
        self.is_whole = False
        for written in row:
            self.is_whole = written.token_id in kind.end_ids
            yield written.token_id

    def _generate(
        self,
        prompts: Sequence[NDArray[Any]],
        writes: Any,
        decoding: DecodingConfig,
        end_ids: Sequence[int],
        generator: torch.Generator | None = None,
        with_probabilities: bool = False,
        description: str | None = None,
    ) -> list[Generated]:
        kind = Kind(writes, frozenset(end_ids), decoding.temperature, decoding.top_p, with_probabilities)
        generators = reply_generators(generator, len(prompts))
        rows = self._engine.write(self._place, prompts, kind, decoding.max_new_tokens, generators)
        found, self.is_whole = [], True
        for row in rows:
            written = list(row)
            self.is_whole &= bool(written) and written[-1].token_id in kind.end_ids
            total = sum(one.log_probability for one in written)
            found.append(Generated([one.token_id for one in written], total / max(1, len(written))))
        return found


class ServedModel:
    """One model for all requests, with a thread for its steps and one for its decoder."""

    def __init__(
        self, model: Any, limits: LimitsConfig, voice_activity: str = "energy", decoder_process: bool = False
    ) -> None:
        """Start the threads.

        Args:
            model: what ``CSLMForCausalLM.from_pretrained`` returns.
            limits: of what clients may do.
            voice_activity: what tells connections where somebody speaks.
            decoder_process: speech is made in a process of its own: faster where both models run on the CPU. It has
                one thread, which PyTorch has less in this process until :meth:`close`.
        """
        self.model, self.limits, self.voice_activity = model.eval(), limits, voice_activity
        self.processor: CSLMProcessor = model.processor
        self.grammars = Grammars(self.processor, num_head_rows(model))
        for writes in ("anything", "text", "speech"):
            self.grammars.grammar(writes)  # laid out before threads ask for them
        self.places = Places(limits.num_replies, limits.num_waiting)
        self.engine = Engine(model, self._rules, self.places, limits.max_new_tokens)
        self.ears = ThreadPoolExecutor(1, "ears")
        """turns sound into units"""
        self.turns = ThreadPoolExecutor(1, "turns")
        """finds where somebody speaks, at once, however much there is to be heard"""
        self.threads = ThreadPoolExecutor(2 * (limits.num_replies + limits.num_waiting), "reply")
        """a reply each, which mostly waits; one that was cancelled may end a little later"""
        self._decoding = WindowThread()
        decoder = self.processor.decoder
        self._process, self._num_threads = None, torch.get_num_threads()
        if decoder_process and decoder is not None:
            self._process = DecoderProcess(decoder)
            self._process.wait()
            torch.set_num_threads(max(1, self._num_threads - 1))

    def close(self) -> None:
        """End the threads."""
        self.engine.close()
        for pool in (self.ears, self.turns, self.threads):
            pool.shutdown(wait=True, cancel_futures=True)
        self._decoding.close()
        if self._process is not None:
            self._process.close()
            torch.set_num_threads(self._num_threads)

    def open_stream(self, voice: str, seed: int) -> Stream:
        """Begin the speech of an answer.

        Raises:
            UserError: no speech decoder.
        """
        if self._process is not None:
            return self._process.stream(voice, seed)
        return SpeechStream(self.processor.speech_decoder(), voice, seed)

    def facts(self) -> dict[str, Any]:
        """What clients are told of the model."""
        decoder = self.processor.decoder
        reach = reach_of(self.processor.codec) if self.processor.codec is not None else None
        return {
            "languages": list(self.processor.languages),
            "voices": list(decoder.voices) if decoder is not None else [],
            "order": self.processor.order,
            "speaks": self.processor.speaks,
            "hears_ahead": reach is not None,
            "max_audio_sec": self.limits.max_audio_sec,
        }

    def stream(
        self,
        question: HeardQuestion,
        wishes: Wishes,
        place: Place,
        past: Sequence[PastTurn] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> Generator[ReplyEvent, None, None]:
        """The events of the answer, on the thread of whoever reads them: those of ``model.stream``.

        Args:
            clock: seconds since the question was over.

        Raises:
            UserError: too long a question, or no voice for the answer.
            CancelledReplyError: the place was cancelled.
            EngineError: the model failed.
        """
        tasks = EngineTasks(self, place)
        asked = wishes.question_language or tasks.identify_languages([question.units])[0]
        answered = wishes.answer_language or asked
        generator = torch.Generator().manual_seed(wishes.seed)
        drawing = reply_generators(generator, 1)[0]
        sound = wishes.with_sound
        teller = ReplyTeller(self.processor, answered, generator, clock, self._decoding, sound, self.open_stream)
        place.when_cancelled(teller.stop)
        past = self._fitting(past, question.units, asked, answered)
        ahead = question.ahead
        if ahead is not None and not ahead.fits(self.processor.question_prompt(question.units, asked, answered, past)):
            ahead = None
        ids = tasks.write_answer(question.units, asked, answered, wishes.decoding, drawing, past, ahead)
        with closing(ids), closing(teller.tell(ids, lambda: tasks.row.step_sec if tasks.row else 0.0)) as events:
            num_read = 0 if ahead is None else ahead.num_ids
            yield QuestionHeard(clock(), 0, question.units, asked, answered, num_read)
            yield from events

    def _fitting(self, past: Sequence[PastTurn], units: Units, asked: str, answered: str) -> Sequence[PastTurn]:
        """The last turns, as many as leave a quarter of the model's context for the answer."""
        past = past[len(past) - min(len(past), self.limits.max_turns) :]
        context = context_length(self.model)
        while past and context is not None:
            if len(self.processor.question_prompt(units, asked, answered, past)) <= 3 * context // 4:
                break
            past = past[1:]
        return past

    def transcribe(self, units: Units, language: str | None, wishes: Wishes, place: Place) -> tuple[str, str]:
        """What was said, and in which language.

        Raises:
            Refusal: the transcript is longer than it may be.
        """
        tasks = EngineTasks(self, place)
        asked = language or tasks.identify_languages([units])[0]
        (text,) = tasks.transcribe([units], [asked], wishes.decoding)
        if not tasks.is_whole:
            raise cut_short("the transcript", wishes.max_new_tokens, "a shorter recording")
        return text, asked

    def speak(
        self, text: str, language: str, wishes: Wishes, place: Place
    ) -> Generator[NDArray[np.float32], None, None]:
        """The samples ``(num_samples,)`` that say a text, as they are made.

        Raises:
            UserError: no speech decoder, none for this language, or too long a text.
            Refusal: the speech is longer than it may be; what there was of it was given out.
        """
        generator = torch.Generator().manual_seed(wishes.seed)
        tasks = EngineTasks(self, place)
        ids = tasks.write_speech(text, language, wishes.decoding, generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        self.processor.speech_decoder()
        speaker = Speaker(self.open_stream(self.processor.voice(language), seed), self._decoding)
        place.when_cancelled(speaker.stop)
        with closing(ids), closing(speaker):
            for units in self._frames(ids):
                speaker.push(units)
                yield from (made.sound.samples for made in speaker.made())
            speaker.finish()
            while not speaker.is_over:
                yield from (made.sound.samples for made in speaker.made(wait=True))
        if not tasks.is_whole:
            raise cut_short("the speech", wishes.max_new_tokens, "a shorter text")

    def _frames(self, ids: Generator[int, None, None]) -> Generator[Units, None, None]:
        """Whole frames of units, some at a time, of ids that begin with the marker."""
        vocabulary = self.processor.vocabulary
        wanted = _FRAMES_A_TIME * len(vocabulary.codebook_sizes)
        held: list[int] = []
        next(ids, None)
        for token_id in ids:
            held.append(token_id)
            if len(held) == wanted:
                yield Units(vocabulary.units_from_ids(np.asarray(held)))
                held = []
        if held:
            yield Units(vocabulary.units_from_ids(np.asarray(held)))

    def _rules(self, kind: Kind) -> ReplyRules:
        writes: Any = kind.writes
        return ReplyRules(self.grammars.grammar(writes), kind.end_ids, self.processor.pad_id)
