"""``CSLMForCausalLM``: a Hugging Face causal language model of any architecture that also hears and speaks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from cslm.codecs.units import Units
from cslm.errors import UserError, first_line
from cslm.generation.decoding import DecodingConfig
from cslm.generation.processor import Audio, CSLMProcessor
from cslm.generation.speech_continuation import Continuation, SpeechContinuer
from cslm.generation.speech_tasks import Grammars, SpeechTasks, num_head_rows
from cslm.model.checkpoint import _readable_by_both_stacks as make_readable_by_both_stacks
from cslm.model.checkpoint import check_checkpoint
from cslm.model.loading import load_whole
from cslm.model.local_folder import local_folder
from cslm.model.quiet_deepspeed import tell_deepspeed_of_cpu


@dataclass(frozen=True)
class Reply:
    """The reply to a spoken question."""

    question: str | None
    """The transcript of the question as the model wrote it; None where it wrote none."""
    answer: str
    """The text of the whole answer."""
    segments: list[tuple[str, Units]]
    """Chunk by chunk, the text and the units that say it."""
    waveform: NDArray[np.float32] | None
    """The spoken answer ``(num_samples,)``; None without a speech decoder."""
    sample_rate_hz: int | None
    """Samples a second of the waveform."""
    question_language: str
    """Given, or recognised."""
    answer_language: str
    """Given, or the question's."""
    question_units: Units
    """The question as the model read it."""
    is_whole: bool = True
    """Whether the model ended it; False where it was cut, by ``max_new_tokens`` or the end of its context."""
    texts: dict[str, str] = field(default_factory=dict)
    """What stands before the answer, by field: ``question_text``, and of a chain ``core_question``, ..."""


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
        **options: Any,
    ) -> Any:
        """Open a checkpoint folder, the authors' release layout, or a Hub id.

        Args:
            path: the folder or id.
            arguments: as for any model of transformers.
            tokenizer_card: card of the speech tokenizer, path or name (default: the checkpoint's own).
            decoder: folder of a speech decoder (default: the checkpoint's own).
            options: as for any model of transformers (``dtype``, ``device_map``, ``attn_implementation``, ...).

        Raises:
            UserError: a folder that is not whole, parts that do not belong together, or no causal language model.
        """
        path = local_folder(path, options.get("revision"))
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
        return model

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
        processor, tasks = self.processor, self.tasks()
        units = processor.units(question)
        asked = question_language or tasks.identify_languages([units])[0]
        answered = answer_language or asked
        speaks = processor.decoder is not None and processor.chain.speaks
        if speaks:
            processor.voice(answered)
        written = tasks.answer([units], [asked], [answered], decoding, generator)[0]
        reply, is_whole = written.reply, bool(written.ids) and written.ids[-1] in processor.end_ids
        waveform = None
        if speaks:
            spoken = processor.speak([part for _, part in reply.segments], answered, generator)
            waveform = np.concatenate([np.zeros(0, np.float32), *spoken])
        rate = processor.decoder.sample_rate_hz if processor.decoder is not None else None
        return Reply(
            reply.question, reply.answer, reply.segments, waveform, rate, asked, answered, units, is_whole, reply.texts
        )  # fmt: skip

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
