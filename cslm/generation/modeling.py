"""``CSLMForCausalLM``: a Hugging Face causal language model of any architecture that also hears and speaks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError, first_line
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import QuestionHeard, Reply, ReplyEvent, join_events
from cslm.generation.listening import Question, comes_in_pieces, hear
from cslm.generation.processor import Audio, CSLMProcessor
from cslm.generation.prompt_model import SpeechPromptModel
from cslm.generation.speech_continuation import Continuation, SpeechContinuer
from cslm.generation.speech_tasks import Grammars, SpeechTasks, num_head_rows
from cslm.generation.streaming import ReplyTeller
from cslm.generation.token_choice import reply_generators
from cslm.model.checkpoint import _readable_by_both_stacks as make_readable_by_both_stacks
from cslm.model.checkpoint import check_checkpoint
from cslm.model.loading import load_whole
from cslm.model.local_folder import local_folder
from cslm.model.quiet_deepspeed import tell_deepspeed_of_cpu
from cslm.model.speech_prompt.prompt_checkpoint import holds_prompt
from cslm.sequences.prompts import PastTurn


class CSLMForCausalLM:
    """A causal language model of transformers with a processor and :meth:`respond`.

    :meth:`from_pretrained` returns an object whose class derives from this one and from the checkpoint's own (say
    ``LlamaForCausalLM``) and carries that one's name, so that forward, generate, peft and the ``architectures`` of what
    ``save_pretrained`` writes are the backbone's.
    """

    processor: CSLMProcessor
    _grammars: Grammars | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *arguments: Any,
        tokenizer_card: str | os.PathLike[str] | None = None,
        decoder: str | os.PathLike[str] | None = None,
        device: str | None = None,
        **options: Any,
    ) -> Any:
        """Open a checkpoint folder, the authors' release layout, or a Hub id.

        A checkpoint of ``train-prompt``, its trained part or a whole folder of ``merge``, gives a
        :class:`~cslm.generation.prompt_model.SpeechPromptModel`, whose ``is_whole`` says which it was.

        Args:
            path: the folder or id.
            arguments: as for any model of transformers.
            tokenizer_card: card of the speech tokenizer, path or name (default: the checkpoint's own).
            decoder: folder of a speech decoder (default: the checkpoint's own).
            device: where the model runs: cpu, cuda, cuda:1, or auto, the first accelerator, else the CPU; by default
                where transformers puts it.
            options: as for any model of transformers (``dtype``, ``device_map``, ``attn_implementation``, ...); a
                checkpoint of ``train-prompt`` takes those of ``SpeechPromptModel.from_pretrained`` alone.

        Raises:
            UserError: a folder that is not whole, parts that do not belong together, no causal language model, an
                option that is not read, or a device that this machine does not have.
        """
        path = local_folder(path, options.get("revision"))
        if holds_prompt(path):
            named = {"tokenizer_card": tokenizer_card, "decoder": decoder, "device": device}
            options |= {name: value for name, value in named.items() if value is not None}
            return SpeechPromptModel.from_pretrained(path, *arguments, **options)
        check_checkpoint(path)
        model_class: Any = cls if issubclass(cls, PreTrainedModel) else speaking_class(path)
        processor = CSLMProcessor.from_pretrained(path, tokenizer_card, decoder)
        model: Any = load_whole(super(CSLMForCausalLM, model_class), path, *arguments, **options)
        rows = model.get_input_embeddings().weight.shape[0]
        if rows < processor.vocabulary.size:
            raise UserError(
                f"{path} has {rows} rows, but its tokenizer {processor.vocabulary.size} ids: not one checkpoint"
            )
        model.processor = processor
        return model if device is None else model.to(make_runtime(device, BATCH_SEC).device)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write a whole checkpoint: the model as transformers does, its text tokenizer, and the folder ``speech/``."""
        if not torch.cuda.is_available():
            tell_deepspeed_of_cpu()
        super().save_pretrained(save_directory, **options)  # type: ignore[misc]
        self.processor.save_pretrained(save_directory)
        make_readable_by_both_stacks(Path(save_directory))

    def tasks(self) -> SpeechTasks:
        """Transcribing, speaking and answering, many items at once."""
        assert isinstance(self, PreTrainedModel)
        num_rows = num_head_rows(self)
        if self._grammars is None or not self._grammars.fit(self.processor, num_rows):
            self._grammars = Grammars(self.processor, num_rows)
        return SpeechTasks(self, self.processor, self._grammars)

    def respond(
        self,
        question: Audio,
        answer_language: str | None = None,
        question_language: str | None = None,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> Reply:
        """Answer a spoken question with text and, where the chain of the checkpoint speaks, with speech.

        Args:
            question: a path, or a mono waveform and its sample rate in Hz.
            answer_language: BCP 47; by default the question's.
            question_language: BCP 47; by default recognised (:meth:`SpeechTasks.identify_languages`).
            decoding: greedy by default.
            generator: for decoding that draws, and for the decoder's noise.

        Raises:
            UserError: a recording that is missing, corrupt, empty or too long, or an answer that no voice can speak.
        """
        rate = self.processor.decoder.sample_rate_hz if self.processor.decoder is not None else None
        events = self.stream(question, answer_language, question_language, decoding, generator)
        return join_events(events, rate, self.processor.speaks)

    def stream(
        self,
        question: Question,
        answer_language: str | None = None,
        question_language: str | None = None,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        past: Sequence[PastTurn] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> Generator[ReplyEvent, None, None]:
        """The events of :meth:`respond` as they come. Closing the iterator stops the work, at any point.

        A question may come in pieces, an iterable of mono waveforms and their sample rate in Hz. Where the speech
        tokenizer allows it and the question's language is given, the model reads it while it is still spoken.

        Args:
            question, answer_language, question_language, decoding, generator: as for :meth:`respond`.
            past: turns before it (:class:`~cslm.generation.conversation.Conversation` keeps them).
            clock: seconds, from any beginning; the times of events count from the call, or from the question's end.

        Raises:
            UserError: as :meth:`respond`.
        """
        tasks = self.tasks()
        start = clock()
        heard = hear(self, self.processor, question, question_language, answer_language, past)
        if comes_in_pieces(question):
            start = clock()
        asked = question_language or tasks.identify_languages([heard.units])[0]
        answered = answer_language or asked
        drawing = reply_generators(generator, 1)[0]
        teller = ReplyTeller(self.processor, answered, generator, lambda: clock() - start)
        ids = tasks.write_answer(heard.units, asked, answered, decoding or DecodingConfig(), drawing, past, heard.ahead)
        with closing(ids), closing(teller.tell(ids)) as events:
            num_read = 0 if heard.ahead is None else heard.ahead.num_ids
            yield QuestionHeard(clock() - start, 0, heard.units, asked, answered, num_read)
            yield from events

    def continue_speech(
        self,
        audio: Audio,
        seconds: float,
        voice: str | None = None,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        with_sound: bool = True,
    ) -> Continuation:
        """Go on from a recording, as a textless model does.

        Args:
            audio: a path, or a mono waveform and its sample rate in Hz.
            seconds: so much more at most; the model may end before.
            voice: of the speech decoder, if the checkpoint has one; by default its first.
            decoding: drawn with temperature 0.8 by default.
            generator: for drawing, and for the decoder's noise (default: seed 0).
            with_sound: whether it is heard, or its units are enough.

        Raises:
            UserError: a model with text; a recording that cannot be used; more seconds than fit; nothing that turns
                units into sound.
        """
        return self.continue_speech_batch([audio], seconds, voice, decoding, generator, with_sound)[0]

    def continue_speech_batch(
        self,
        audios: Sequence[Audio],
        seconds: float,
        voice: str | None = None,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        with_sound: bool = True,
    ) -> list[Continuation]:
        """:meth:`continue_speech` of several recordings, ``decoding.batch_size`` together."""
        return SpeechContinuer(self.tasks(), seconds, voice).go_on(audios, decoding, generator, with_sound)


def speaking_class(path: str | os.PathLike[str]) -> type[Any]:
    """The class for a checkpoint: :class:`CSLMForCausalLM` and the checkpoint's own class in one.

    Raises:
        UserError: no configuration, or not that of a causal language model.
    """
    try:
        config = AutoConfig.from_pretrained(str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: transformers cannot read its configuration ({first_line(error)})") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"{path}: {config.model_type} is no causal language model of transformers")
    return _joined(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])


@cache
def _joined(backbone: type[Any]) -> type[Any]:
    # transformers reads a class's name for `architectures` and its module for what its attention can do: both are
    # the backbone's.
    return type(backbone.__name__, (CSLMForCausalLM, backbone), {"__module__": backbone.__module__})
