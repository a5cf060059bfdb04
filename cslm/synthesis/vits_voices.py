"""VITS of transformers: the MMS models of one language and one voice each, or models of many speakers."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import langcodes
import torch
from transformers import AutoTokenizer, VitsModel

from cslm.corpora.languages import language_tag
from cslm.errors import MissingExtraError, UserError
from cslm.evaluation.recognizers import Clip
from cslm.synthesis.failure import Failure
from cslm.synthesis.ready_models import model_digest, open_model, open_part, seed_of
from cslm.synthesis.synthesizer_config import VitsConfig

_WHERE = "synthesizer.vits.model"


class VitsVoices:
    """A voice a speaker of the language's model: ``0``, ``1``, ..."""

    def __init__(self, config: VitsConfig) -> None:
        self._config = config
        self._models = {language_tag(language): name for language, name in config.models.items()}
        self._opened: dict[str, _Voice] = {}

    @property
    def names_are_speakers(self) -> bool:
        """Whether one model speaks all languages."""
        return not self._models and "{" not in self._config.model

    def voices(self, language: str) -> list[str]:
        """Numbers of the speakers.

        Raises:
            UserError: the model of the language is not there.
        """
        return self._voice(language).names

    def facts(self, language: str, voice: str) -> dict[str, Any]:
        """The model's weights, and how much it varies.

        Raises:
            UserError: the model of the language is not there, or has no such speaker.
        """
        model = self._voice(language)
        model.check(voice)
        config = self._config
        return {
            "synthesizer": "vits",
            "model": model.digest,
            "voice": voice,
            "speaking_rate": config.speaking_rate,
            "noise_scale": config.noise_scale,
            "noise_scale_duration": config.noise_scale_duration,
            "seed": config.seed,
        }

    def speak(self, texts: Sequence[str], language: str, voice: str) -> Iterator[Clip | Failure]:
        """Say each text; one with letters or digits that the model does not know is a failure.

        Raises:
            UserError: as :meth:`facts`.
        """
        model = self._voice(language)
        model.check(voice)
        for text in texts:
            yield model.say(text, voice)

    def _voice(self, language: str) -> _Voice:
        tag = language_tag(language)
        name = self._models.get(tag, self._config.model).replace("{language}", tag)
        if "{iso3}" in name:
            name = name.replace("{iso3}", langcodes.Language.get(tag).to_alpha3())
        if name not in self._opened:
            self._opened[name] = _Voice(name, self._config)
        return self._opened[name]


class _Voice:
    """One model with its tokenizer."""

    def __init__(self, name: str, config: VitsConfig) -> None:
        self._name, self._seed = name, config.seed
        self._tokenizer = open_part(AutoTokenizer, name, config.revision, _WHERE)
        if getattr(self._tokenizer, "is_uroman", False):
            _check_uroman(name)
        self._model = open_model(VitsModel, name, config.revision, config.device, "float32", _WHERE)
        for option in ("speaking_rate", "noise_scale", "noise_scale_duration"):
            if getattr(config, option) is not None:
                setattr(self._model, option, getattr(config, option))
        self.digest = model_digest(self._model)
        self.names = [str(number) for number in range(max(1, self._model.config.num_speakers))]

    def check(self, voice: str) -> None:
        """Make sure that it has a speaker.

        Raises:
            UserError: it has not.
        """
        if voice not in self.names:
            raise UserError(f"{_WHERE}: {self._name} has the voices 0 to {self.names[-1]}, not {voice!r}")

    def say(self, text: str, voice: str) -> Clip | Failure:
        unknown = self._unknown(text)
        if unknown:
            return Failure(f"the voice cannot read {' '.join(unknown)}: write it in letters that it knows")
        inputs = self._tokenizer(text, return_tensors="pt").to(self._model.device)
        if not any(self._is_sound(number) for number in inputs["input_ids"][0].tolist()):
            return Failure("the voice finds nothing to say in the text")
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_of(self._seed, voice, text))
            speaker = int(voice) if self._model.config.num_speakers > 1 else None
            waveform = self._model(**inputs, speaker_id=speaker).waveform[0]
        return waveform.float().cpu().numpy(), int(self._model.config.sampling_rate)

    def _unknown(self, text: str) -> list[str]:
        """Letters and digits that the tokenizer would leave out."""
        tokenizer = self._tokenizer
        if tokenizer.phonemize:
            return []
        lowered = tokenizer.normalize_text(text) if tokenizer.normalize else text
        shown, _ = tokenizer.prepare_for_tokenization(lowered, normalize=False)
        return sorted({letter for letter in shown if letter.isalnum() and letter not in tokenizer.get_vocab()})

    def _is_sound(self, number: int) -> bool:
        """Whether an id is a letter or a phoneme: neither a blank nor punctuation."""
        return any(letter.isalpha() for letter in str(self._tokenizer.convert_ids_to_tokens(number)).strip("<>"))


def _check_uroman(name: str) -> None:
    """Make sure that what writes other scripts in Latin letters is there: without it the tokenizer leaves them out."""
    try:
        importlib.import_module("uroman")
    except ModuleNotFoundError:
        raise MissingExtraError("uroman", "mms", f"the voice {name}, which reads Latin letters only,") from None
