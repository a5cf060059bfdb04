"""Models that answer a recording and words around it in text: ours, and any of transformers by its class name."""

from __future__ import annotations

import base64
import inspect
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import soundfile
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoProcessor, PretrainedConfig, PreTrainedModel

from cslm.audio.clip import Clip
from cslm.audio.waveform import resample
from cslm.corpora.languages import language_tag
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError, first_line
from cslm.evaluation.audio_model_config import AudioModelConfig
from cslm.files.progress import progress_bar
from cslm.generation.decoding import DecodingConfig
from cslm.generation.prompt_model import SpeechPromptModel
from cslm.model.frozen_llm import FrozenLLM
from cslm.model.loading import load_whole
from cslm.model.speech_prompt.prompt_checkpoint import SECTION

_DEFAULT_RATE_HZ = 16_000


class AskedAloud(NamedTuple):
    """A recording and the words around it."""

    clip: Clip
    language: str
    before: str = ""
    after: str = ""


class AudioTextModel(Protocol):
    """What answers recordings in text."""

    def answer(
        self, asked: Sequence[AskedAloud], decoding: DecodingConfig, description: str | None = None
    ) -> list[str]:
        """The answer to each; ``description`` shows a progress bar of this name.

        Raises:
            UserError: a recording that cannot be heard.
        """


class OwnAudioModel:
    """A model of ``train-prompt``."""

    def __init__(self, model: SpeechPromptModel) -> None:
        self.model = model

    def text_only(self) -> FrozenLLM:
        """Its language model, for conversations in text."""
        processor = self.model.processor
        llm: Any = self.model.prompt.llm
        return FrozenLLM(llm, processor.tokenizer, processor.form, dict(processor.hearing.hashes))

    def answer(
        self, asked: Sequence[AskedAloud], decoding: DecodingConfig, description: str | None = None
    ) -> list[str]:
        """See :class:`AudioTextModel`; the template that training wrote with writes the requests."""
        _check_greedy(decoding)
        self._check_languages(asked)
        answers: list[str] = []
        for batch in _batches(asked, decoding, description):
            conversations = []
            for one in batch:
                parts: list[dict[str, Any]] = [
                    {"type": "text", "text": one.before},
                    {"type": "audio", "audio": one.clip},
                    {"type": "text", "text": one.after},
                ]
                conversations.append([{"role": "user", "content": [it for it in parts if it.get("text", True)]}])
            inputs = self.model.processor.apply_chat_template(conversations)
            languages = [one.language for one in batch]
            written = self.model.replies(inputs, decoding.max_new_tokens, languages, do_sample=False)
            answers += self.model.processor.batch_decode(written)
        return [answer.strip() for answer in answers]

    def _check_languages(self, asked: Sequence[AskedAloud]) -> None:
        """Make sure that a connector that is told the languages knows them, before the first answer."""
        hearing = self.model.processor.hearing
        unknown = sorted({one.language for one in asked if language_tag(one.language) not in hearing.languages})
        if hearing.is_told_languages and unknown:
            raise UserError(
                f"the connector is told the language of each recording and knows {', '.join(hearing.languages)}; there "
                f"are recordings in {', '.join(unknown)}: leave them out"
            )


class TransformersAudioModel:
    """An audio-text model of transformers with its own processor and chat template, greedy in batches."""

    def __init__(self, place: str | os.PathLike[str], config: AudioModelConfig, device: str = "cpu") -> None:
        """Open model and processor.

        Args:
            place: a folder or a Hub id.
            config: what it is.
            device: where it runs; auto is the first accelerator, else the CPU.

        Raises:
            UserError: transformers has no such class, they cannot be opened whole, or there is no such device.
        """
        found = getattr(transformers, config.class_name, None)
        if not (isinstance(found, type) and issubclass(found, PreTrainedModel) and hasattr(found, "generate")):
            raise UserError(
                f"audio_model.class_name: transformers {transformers.__version__} has no model {config.class_name} "
                "that generates: give the name of a class, as Qwen2AudioForConditionalGeneration"
            )
        self._config, self._place = config, place
        _check_kind(found, place, config)
        runtime = make_runtime(device, BATCH_SEC)
        try:
            self._processor: Any = AutoProcessor.from_pretrained(place, revision=config.revision)
            options: dict[str, Any] = {"revision": config.revision, "dtype": config.dtype}
            model: Any = load_whole(found, place, **options)
        except UserError:
            raise
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise UserError(f"the audio model {place} cannot be opened: {first_line(error)}") from None
        self._model = model.to(runtime.device).eval()
        tokenizer = getattr(self._processor, "tokenizer", None)
        if tokenizer is None:
            raise UserError(f"the processor of {place} has no tokenizer: is it an audio-text model?")
        tokenizer.padding_side = "left"
        names = ("feature_extractor", "audio_processor")
        parts: Iterator[Any] = (getattr(self._processor, name, None) for name in names)
        self._rate_hz = next(
            (int(part.sampling_rate) for part in parts if hasattr(part, "sampling_rate")), _DEFAULT_RATE_HZ
        )

    @torch.inference_mode()
    def answer(
        self, asked: Sequence[AskedAloud], decoding: DecodingConfig, description: str | None = None
    ) -> list[str]:
        """See :class:`AudioTextModel`.

        Raises:
            UserError: decoding that draws, or a template that does not take such messages.
        """
        _check_greedy(decoding)
        answers: list[str] = []
        for batch in _batches(asked, decoding, description):
            inputs = self._inputs(batch).to(self._model.device)
            if "token_type_ids" not in inspect.signature(type(self._model).forward).parameters:
                inputs.pop("token_type_ids", None)  # tokenizers of no kind write them
            for name, value in inputs.items():
                if torch.is_tensor(value) and value.is_floating_point():
                    inputs[name] = value.to(self._model.dtype)
            ids = self._model.generate(**inputs, max_new_tokens=decoding.max_new_tokens, do_sample=False, num_beams=1)
            new = ids[:, inputs["input_ids"].shape[1] :]
            answers += [str(it).strip() for it in self._processor.batch_decode(new, skip_special_tokens=True)]
        return answers

    def _inputs(self, batch: Sequence[AskedAloud]) -> Any:
        waveforms = [_at_rate(one.clip, self._rate_hz) for one in batch]
        messages = [self._messages(one, waveform) for one, waveform in zip(batch, waveforms, strict=True)]
        try:
            if self._config.audio_as == "base64":
                return self._processor.apply_chat_template(messages, return_dict=True, return_tensors="pt")
            texts = [
                self._processor.apply_chat_template(it, tokenize=False, add_generation_prompt=True) for it in messages
            ]
            return self._processor(text=texts, audio=waveforms, padding=True, return_tensors="pt")
        except (ValueError, TypeError, KeyError, ImportError) as error:
            raise UserError(
                f"the processor of {self._place} does not take a recording so: {first_line(error)}: look at "
                "audio_model.audio_token and audio_model.audio_as"
            ) from None

    def _messages(self, one: AskedAloud, waveform: NDArray[np.float32]) -> list[dict[str, Any]]:
        token = self._config.audio_token
        system = [] if self._config.system is None else [{"role": "system", "content": self._config.system}]
        if token is not None:
            return [*system, {"role": "user", "content": f"{one.before}{token}{one.after}"}]
        audio = {"type": "audio", **self._audio(waveform)}
        before, after = ([{"type": "text", "text": words}] if words else [] for words in (one.before, one.after))
        return [*system, {"role": "user", "content": [*before, audio, *after]}]

    def _audio(self, waveform: NDArray[np.float32]) -> dict[str, Any]:
        if self._config.audio_as == "array":
            return {"audio": waveform}
        file = io.BytesIO()
        soundfile.write(file, waveform, self._rate_hz, format="WAV")
        return {"base64": base64.b64encode(file.getvalue()).decode("ascii")}


def _check_kind(found: Any, place: str | os.PathLike[str], config: AudioModelConfig) -> None:
    """Make sure that a model is of a class before it is built: of another, all weights would be drawn, however many.

    Raises:
        UserError: it is of another kind, or its configuration cannot be read.
    """
    try:
        content, _ = PretrainedConfig.get_config_dict(place, revision=config.revision)
    except (OSError, ValueError) as error:
        raise UserError(f"the audio model {place} cannot be opened: {first_line(error)}") from None
    kind, wanted = content.get("model_type"), found.config_class.model_type
    if not content:
        raise UserError(f"the audio model {place} cannot be opened: it has no config.json")
    if kind != wanted:
        told = "is a checkpoint of train-prompt: leave audio_model out" if SECTION in content else f"is of type {kind}"
        raise UserError(f"audio_model.class_name {config.class_name} opens models of type {wanted}, and {place} {told}")


def _check_greedy(decoding: DecodingConfig) -> None:
    if decoding.draws:
        raise UserError("audio models are decoded greedily: set decoding.temperature to 0")


def _batches(
    asked: Sequence[AskedAloud], decoding: DecodingConfig, description: str | None
) -> Iterator[Sequence[AskedAloud]]:
    batches = [asked[at : at + decoding.batch_size] for at in range(0, len(asked), decoding.batch_size)]
    return iter(progress_bar(batches, len(batches), description) if description else batches)


def _at_rate(clip: Clip, rate_hz: int) -> NDArray[np.float32]:
    waveform, own_hz = clip
    return waveform if own_hz == rate_hz else resample(waveform, own_hz, rate_hz)
