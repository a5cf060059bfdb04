"""One reply as a stream of events: the question heard, the ids written, their sound made beside."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import numpy as np
import torch

from cslm.decoder.speech_stream import SpeechStream
from cslm.generation.events import AnswerSamples, AnswerUnits, ReplyEnd, ReplyEvent
from cslm.generation.first_chunk import FirstChunk
from cslm.generation.processor import CSLMProcessor
from cslm.generation.reply_scribe import ReplyScribe
from cslm.generation.speaker import Made, Speaker, Stream
from cslm.generation.window_thread import WindowThread


class ReplyTeller:
    """Tells one reply from its ids, wherever they are written: texts and units at once, sound as it is made.

    The decoder works on another thread. The first sound is held back as :class:`FirstChunk` says. Where ids are written
    on the thread that reads the events, the windows of the first sound are made there too: they are what is waited for,
    and beside each other both would take longer.
    """

    def __init__(
        self,
        processor: CSLMProcessor,
        answer_language: str,
        generator: torch.Generator | None,
        clock: Callable[[], float],
        thread: WindowThread | None = None,
        with_sound: bool = True,
        open_stream: Callable[[str, int], Stream] | None = None,
    ) -> None:
        """Get ready.

        Args:
            generator: draws the seed of the decoder's noise (default: 0).
            clock: seconds since the reply was asked for.
            thread: for the decoder (default: one that ends with the reply).
            with_sound: whether the answer is heard, where the model speaks.
            open_stream: begins the speech in a voice, with a seed (default: the processor's decoder, here).

        Raises:
            UserError: an answer that no voice can speak.
        """
        self._processor, self._clock = processor, clock
        self._scribe = ReplyScribe(processor.form, processor.chain)
        self._rule = FirstChunk(processor.chain.chunked)
        self._held: list[np.ndarray] | None = []  # None once the first sound is out
        self._num_samples = 0
        self._unit_ends: list[int] = []
        self._here = False  # whether the decoder works on this thread
        self._speaker: Speaker | None = None
        if processor.speaks and with_sound:
            seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator))
            voice = processor.voice(answer_language)
            open_stream = open_stream or (lambda *given: SpeechStream(processor.speech_decoder(), *given))
            self._speaker = Speaker(open_stream(voice, seed), thread)

    def tell(
        self, ids: Iterable[int], writing_sec: Callable[[], float] | None = None
    ) -> Generator[ReplyEvent, None, None]:
        """The events of a reply whose ids come as they are asked for. Closing it stops the decoder too.

        Args:
            writing_sec: how long the last id took, where ids are written beside this (default: as long as it was
                waited for).
        """
        self._here = writing_sec is None
        try:
            written: list[int] = []
            before = self._clock()
            for token_id in ids:
                now = self._clock()
                written.append(token_id)
                events = self._scribe.push([token_id], now)
                if len(written) > 1:  # the first one took the prompt to be read
                    took = now - before if writing_sec is None else writing_sec()
                    self._rule.wrote(took, not self._scribe.answer_begun, self._is_unit(token_id))
                yield from self._hand_over(events)
                yield from self._sounds()
                before = self._clock()
            yield from self._hand_over(self._scribe.finish(self._clock()))
            if self._speaker is not None:
                self._rule.chunked = False  # no more text will come
                self._speaker.finish()
                while not self._speaker.is_over:
                    yield from self._sounds(wait=True)
            is_whole = bool(written) and written[-1] in self._processor.end_ids
            reply = self._processor.decode(written)
            yield ReplyEnd(self._clock(), len(written), is_whole, tuple(written), reply)
        finally:
            if self._speaker is not None:
                self._speaker.close()

    def stop(self) -> None:
        """Make no further sound: also from another thread, before the iterator is closed."""
        if self._speaker is not None:
            self._speaker.stop()

    def _is_unit(self, token_id: int) -> bool:
        vocabulary = self._processor.form.vocabulary
        return vocabulary is not None and vocabulary.is_unit(token_id)

    def _hand_over(self, events: Iterable[ReplyEvent]) -> Generator[ReplyEvent, None, None]:
        for event in events:
            if isinstance(event, AnswerUnits) and self._speaker is not None:
                self._speaker.push(event.units, self._here)
            yield event

    def _sounds(self, wait: bool = False) -> Generator[ReplyEvent, None, None]:
        """What was made, unless the first sound still waits."""
        assert self._speaker is not None or not wait
        for made in self._speaker.made(wait) if self._speaker is not None else ():
            yield from self._give_out(made)

    def _give_out(self, made: Made) -> Generator[ReplyEvent, None, None]:
        assert self._speaker is not None
        rate = self._processor.speech_decoder().sample_rate_hz
        samples, ends = made.sound
        self._unit_ends += ends
        self._rule.spoke(len(samples) / rate, len(self._unit_ends), made.decoding_sec)
        if self._held is not None:
            self._held.append(samples)
            if not (self._rule.may_start or self._speaker.is_over):
                return
            samples, self._held, ends = np.concatenate(self._held), None, tuple(self._unit_ends)
            self._here = False
        if len(samples):
            first, sounded = self._num_samples, len(self._unit_ends)
            yield AnswerSamples(self._clock(), self._scribe.num_ids, samples, first, rate, sounded, ends)
            self._num_samples += len(samples)
