"""SpeechT5 of transformers: any voice of which there is an x-vector, the same in every language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5Processor

from cslm.corpora.languages import language_tag
from cslm.corpora.text_documents import sha256_of
from cslm.errors import UserError
from cslm.evaluation.recognizers import Clip
from cslm.synthesis.failure import Failure
from cslm.synthesis.ready_models import model_digest, open_model, open_part, seed_of
from cslm.synthesis.synthesizer_config import SpeechT5Config

_WHERE = "synthesizer.speecht5"
_LONGEST = 20.0  # steps of the decoder for each step of the encoder, as in transformers


class SpeechT5Voices:
    """A voice an x-vector: the names of the files in the folder of voices."""

    names_are_speakers = True

    def __init__(self, config: SpeechT5Config) -> None:
        """Find the voices; models are opened when a language is asked for first.

        Raises:
            UserError: there are no voices.
        """
        self._config = config
        self._models = {language_tag(language): name for language, name in config.models.items()}
        self._files = {path.stem: path for path in sorted(Path(config.voices).glob("*.npy"))}
        if not self._files:
            raise UserError(f"{_WHERE}.voices: no x-vectors (NAME.npy) in {config.voices}")
        self._opened: dict[str, _Speaker] = {}

    def voices(self, language: str) -> list[str]:
        """Names of the x-vectors."""
        return list(self._files)

    def facts(self, language: str, voice: str) -> dict[str, Any]:
        """Weights of model and vocoder, and the x-vector.

        Raises:
            UserError: a model is not there, or there is no such voice.
        """
        speaker = self._speaker(language)
        return {
            "synthesizer": "speecht5",
            "model": speaker.digest,
            "voice": f"sha256:{sha256_of(self._file(voice))}",
            "seed": self._config.seed,
        }

    def speak(self, texts: Sequence[str], language: str, voice: str) -> Iterator[Clip | Failure]:
        """Say each text; one that is too long, or in which the model finds no end, is a failure.

        Raises:
            UserError: as :meth:`facts`, or the x-vector does not fit the model.
        """
        speaker, vector = self._speaker(language), self._vector(voice)
        for text in texts:
            yield speaker.say(text, vector, seed_of(self._config.seed, voice, text))

    def _file(self, voice: str) -> Path:
        if voice not in self._files:
            raise UserError(f"{_WHERE}.voices: has no voice {voice!r}; it has {', '.join(list(self._files)[:20])}")
        return self._files[voice]

    def _vector(self, voice: str) -> torch.Tensor:
        """The x-vector of a voice ``(1, dims)``."""
        file = self._file(voice)
        try:
            numbers = np.load(file, allow_pickle=False)
        except ValueError as error:
            raise UserError(f"{file}: is no x-vector ({error})") from None
        if numbers.dtype.kind != "f" or not np.isfinite(numbers).all():
            raise UserError(f"{file}: is no x-vector: finite numbers are wanted")
        return torch.from_numpy(numbers.astype(np.float32).reshape(1, -1))

    def _speaker(self, language: str) -> _Speaker:
        tag = language_tag(language)
        name = self._models.get(tag, self._config.model).replace("{language}", tag)
        if name not in self._opened:
            self._opened[name] = _Speaker(name, self._config)
        return self._opened[name]


class _Speaker:
    """One model with its processor and the vocoder."""

    def __init__(self, name: str, config: SpeechT5Config) -> None:
        where, device = f"{_WHERE}.model", config.device
        self._processor = open_part(SpeechT5Processor, name, config.revision, where)
        self._model = open_model(SpeechT5ForTextToSpeech, name, config.revision, device, "float32", where)
        where = f"{_WHERE}.vocoder"
        self._vocoder = open_model(SpeechT5HifiGan, config.vocoder, config.vocoder_revision, device, "float32", where)
        self.digest = [model_digest(self._model), model_digest(self._vocoder)]

    def say(self, text: str, vector: torch.Tensor, seed: int) -> Clip | Failure:
        """Say a text in the voice of an x-vector ``(1, dims)``."""
        model = self._model
        if vector.shape[1] != model.config.speaker_embedding_dim:
            wanted = model.config.speaker_embedding_dim
            raise UserError(f"{_WHERE}.voices: an x-vector has {vector.shape[1]} numbers, the model takes {wanted}")
        ids = self._processor(text=text, return_tensors="pt")["input_ids"].to(model.device)
        unknown = self._unknown(text, ids)
        if unknown or ids.shape[1] > model.config.max_text_positions:
            most = f"is too long for the voice: {ids.shape[1]} tokens, it takes {model.config.max_text_positions}"
            return Failure(unknown or most)
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            frames = model.generate_speech(ids, vector.to(model.device), maxlenratio=_LONGEST)
            waveform = self._vocoder(frames)
        if len(frames) >= int(ids.shape[1] * _LONGEST / model.config.reduction_factor) * model.config.reduction_factor:
            return Failure("the voice finds no end of the text")
        return waveform.float().cpu().numpy(), int(self._vocoder.config.sampling_rate)

    def _unknown(self, text: str, ids: torch.Tensor) -> str | None:
        """What is wrong with letters that the tokenizer does not know."""
        tokenizer = self._processor.tokenizer
        if tokenizer.unk_token_id in ids[0].tolist():
            return "the voice does not know all letters of the text: write them as it knows them"
        return None if any(letter.isalnum() for letter in text) else "the voice finds nothing to say in the text"
