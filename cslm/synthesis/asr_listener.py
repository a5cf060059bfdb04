"""A speech recognizer of transformers as a listener: Whisper, or a model with a CTC head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import langcodes
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCTC, AutoProcessor, WhisperForConditionalGeneration

from cslm.audio.waveform import resample
from cslm.corpora.languages import language_tag
from cslm.errors import UserError, first_line
from cslm.evaluation.recognizers import Clip
from cslm.synthesis.failure import Failure
from cslm.synthesis.listener_config import AsrListenerConfig
from cslm.synthesis.ready_models import model_digest, open_model, open_part

_WHERE = "listener.asr.model"
_WHISPER = "whisper"


class AsrListener:
    """Hears in each language with its model; models are opened when they are first needed."""

    def __init__(self, config: AsrListenerConfig) -> None:
        self._config = config
        self._models = {language_tag(language): name for language, name in config.models.items()}
        self._languages = {language_tag(language) for language in config.languages}
        self._opened: dict[str, _Ctc | _Whisper] = {}

    def facts(self, language: str) -> dict[str, Any]:
        """The model's weights, and how it is asked.

        Raises:
            UserError: the model of the language is not there, or does not hear it.
        """
        return {"listener": "asr", **self._model(language).facts}

    def hear(self, clips: Sequence[Clip], language: str) -> list[str | Failure]:
        """The text of each clip; one that is too long for the model, or too short for a frame, is a failure.

        Raises:
            UserError: as :meth:`facts`.
        """
        model = self._model(language)
        waveforms = [resample(waveform, rate_hz, model.sample_rate_hz) for waveform, rate_hz in clips]
        return model.hear(waveforms, language_tag(language))

    def _model(self, language: str) -> _Ctc | _Whisper:
        tag = language_tag(language)
        named = tag in self._models or "{language}" in self._config.model
        name = self._models.get(tag, self._config.model).replace("{language}", tag)
        if name not in self._opened:
            self._opened[name] = _open(name, self._config)
        model = self._opened[name]
        hears = model.languages if isinstance(model, _Whisper) else None
        if tag not in self._languages and not (named if hears is None else _spoken(tag) in hears):
            knows = f"it hears {', '.join(sorted(hears))}" if hears else "nobody says what it hears"
            raise UserError(f"{_WHERE}: {name} is not known to hear {tag} ({knows}): add it to listener.asr.languages")
        return model


def _open(name: str, config: AsrListenerConfig) -> _Ctc | _Whisper:
    try:
        kind = AutoConfig.from_pretrained(name, revision=config.revision).model_type
    except (OSError, ValueError) as error:
        raise UserError(f"{_WHERE}: the model {name} cannot be opened: {first_line(error)}") from None
    return _Whisper(name, config) if kind == _WHISPER else _Ctc(name, config)


class _Ctc:
    """The likeliest letters of each clip, heard alone: what shares a batch would change it."""

    def __init__(self, name: str, config: AsrListenerConfig) -> None:
        self._processor = open_part(AutoProcessor, name, config.revision, _WHERE)
        self._model = open_model(AutoModelForCTC, name, config.revision, config.device, config.dtype, _WHERE)
        self.sample_rate_hz = int(self._processor.feature_extractor.sampling_rate)
        self.facts = {"model": model_digest(self._model)}

    def hear(self, waveforms: Sequence[NDArray[np.float32]], language: str) -> list[str | Failure]:
        return [self._hear(waveform) for waveform in waveforms]

    def _hear(self, waveform: NDArray[np.float32]) -> str | Failure:
        values = self._processor(waveform, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        inputs = {name: _on(tensor, self._model) for name, tensor in values.items()}
        try:
            with torch.inference_mode():
                logits = self._model(**inputs).logits
        except RuntimeError as error:
            if "Kernel size" in str(error) or "too small" in str(error):
                return Failure(f"its {len(waveform) / self.sample_rate_hz:.2f} s are too short for the listener")
            raise
        return str(self._processor.batch_decode(logits.argmax(dim=-1))[0])


class _Whisper:
    """Greedy or beam search, in the language that is asked for."""

    def __init__(self, name: str, config: AsrListenerConfig) -> None:
        self._processor = open_part(AutoProcessor, name, config.revision, _WHERE)
        self._model = open_model(
            WhisperForConditionalGeneration, name, config.revision, config.device, config.dtype, _WHERE
        )
        self._batch_size, self._num_beams = config.batch_size, config.num_beams
        self.sample_rate_hz = int(self._processor.feature_extractor.sampling_rate)
        self._longest_sec = float(self._processor.feature_extractor.chunk_length)
        told = getattr(self._model.generation_config, "lang_to_id", None)
        self._multilingual = bool(told) and bool(getattr(self._model.generation_config, "is_multilingual", True))
        self.languages = {token.strip("<|>") for token in told} if told and self._multilingual else {"en"}
        self.facts = {"model": model_digest(self._model), "num_beams": config.num_beams}

    def hear(self, waveforms: Sequence[NDArray[np.float32]], language: str) -> list[str | Failure]:
        heard: dict[int, str | Failure] = {}
        fitting = []
        for number, waveform in enumerate(waveforms):
            seconds = len(waveform) / self.sample_rate_hz
            if seconds > self._longest_sec:
                heard[number] = Failure(
                    f"its {seconds:.1f} s are more than the listener hears ({self._longest_sec:g} s)"
                )
            else:
                fitting.append(number)
        for start in range(0, len(fitting), self._batch_size):
            batch = fitting[start : start + self._batch_size]
            heard |= zip(batch, self._texts([waveforms[number] for number in batch], language), strict=True)
        return [heard[number] for number in range(len(waveforms))]

    def _texts(self, waveforms: list[NDArray[np.float32]], language: str) -> list[str]:
        values = self._processor(waveforms, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        features = _on(values["input_features"], self._model)
        asked = {"language": _spoken(language), "task": "transcribe"} if self._multilingual else {}
        with torch.inference_mode():
            ids = self._model.generate(features, do_sample=False, num_beams=self._num_beams, **asked)
        return [text.strip() for text in self._processor.batch_decode(ids, skip_special_tokens=True)]


def _on(tensor: torch.Tensor, model: Any) -> torch.Tensor:
    """A tensor beside the model, in its type where it holds fractions."""
    return tensor.to(model.device, model.dtype if tensor.is_floating_point() else None)


def _spoken(language: str) -> str:
    """The language without region or script, as Whisper names it."""
    return str(langcodes.Language.get(language).language)
