"""A model under test with what its scores need: test items, its own ear, another ear, a decoder, a generator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from cslm.audio.waveform import load_waveform
from cslm.codecs.units import Units
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.evaluation.audio_text_model import AudioTextModel, OwnAudioModel, TransformersAudioModel
from cslm.evaluation.ears import ear_class
from cslm.evaluation.recognizers import Clip, ModelRecognizer, Recognizer
from cslm.evaluation.score_config import OtherEarConfig, ScoreConfig
from cslm.files.json_lines import read_json_lines
from cslm.generation.modeling import CSLMForCausalLM
from cslm.generation.processor import CSLMProcessor
from cslm.generation.prompt_model import SpeechPromptModel
from cslm.generation.speech_tasks import SpeechTasks
from cslm.model.local_folder import local_folder
from cslm.model.speech_prompt.prompt_checkpoint import holds_prompt

TRANSCRIPTS = "transcripts.jsonl"
"""The file of what was heard of each item."""

Item = TypeVar("Item")


@dataclass
class ScoredModel:
    """What every score takes."""

    config: ScoreConfig
    tasks: SpeechTasks
    ear: ModelRecognizer
    """the model's own ASR on waveforms"""
    other_ear: Recognizer | None
    """one that never met the model"""
    audio_model: AudioTextModel | None = None
    """what answers recordings in text, of a model that hears them as vectors; such a model has no other tasks"""

    @property
    def processor(self) -> CSLMProcessor:
        """Text tokenizer, speech tokenizer and decoder."""
        return self.tasks.processor

    def path(self, name: str) -> Path:
        """A path of the configuration, from its data root."""
        return Path(self.config.data_root) / name

    @property
    def folder(self) -> Path:
        """Where results.json and what comes beside it are written."""
        return Path(self.config.output).parent

    def bootstrap(self) -> np.random.Generator:
        """A fresh generator for intervals."""
        return np.random.default_rng(self.config.seed)

    def drawing(self) -> torch.Generator:
        """A fresh generator for decoding."""
        return torch.Generator().manual_seed(self.config.seed)

    def utterances(self, name: str) -> list[tuple[Utterance, Path]]:
        """The utterances of a manifest and where each one's audio lies.

        Raises:
            UserError: no such manifest, or a bad line.
        """
        manifest = self.path(name)
        return [(utterance, Path(resolve_audio(manifest, utterance))) for utterance in read_manifest(manifest)]

    def by_language(self, name: str) -> dict[str, list[tuple[Utterance, Path]]]:
        """The utterances of a manifest by language, at most ``max_items`` of each, spread over the set.

        Raises:
            UserError: no such manifest, a bad line, or none.
        """
        groups: dict[str, list[tuple[Utterance, Path]]] = {}
        for item in self.utterances(name):
            groups.setdefault(item[0].language, []).append(item)
        if not groups:
            raise UserError(f"{self.path(name)} holds no utterance: prepare the corpus again")
        return {language: spread(items, self.config.max_items) for language, items in groups.items()}

    def speak(self, units: Sequence[Any], languages: Sequence[str]) -> list[Clip]:
        """The waveform of each stretch of units in the voice of its language."""
        decoder = self.processor.speech_decoder()
        voices = [self.processor.voice(language) for language in languages]
        return [(waveform, decoder.sample_rate_hz) for waveform in decoder.decode_batch(units, voices)]

    def speak_in_chunks(self, chunks: Sequence[Sequence[Units]], languages: Sequence[str]) -> list[list[Clip]]:
        """Each answer spoken as one utterance, as a stream of it sounds, and cut where the units of its chunks end.

        Args:
            chunks: of each answer, none of them without units.
        """
        decoder = self.processor.speech_decoder()
        rate_hz = decoder.sample_rate_hz
        spoken: list[list[Clip]] = [[] for _ in chunks]
        owners = [index for index, parts in enumerate(chunks) if parts]
        voices = [self.processor.voice(languages[index]) for index in owners]
        wholes = [
            decoder.predict_durations(Units(np.concatenate([part.ids for part in chunks[index]])), voice)
            for index, voice in zip(owners, voices, strict=True)
        ]
        for index, whole, waveform in zip(owners, wholes, decoder.decode_batch(wholes, voices), strict=True):
            assert whole.durations is not None
            ends = decoder.grid.ends(whole.durations)[np.cumsum([len(part) for part in chunks[index]]) - 1]
            spoken[index] = [(piece, rate_hz) for piece in np.split(waveform, ends[:-1])]
        return spoken


def open_scored_model(config: ScoreConfig) -> ScoredModel:
    """Open the checkpoint, its decoder and the ears.

    Raises:
        UserError: a part that is missing or does not belong to the others.
    """
    root = Path(config.data_root)
    if config.audio_model is not None:
        return _of_audio_model(config, TransformersAudioModel(config.checkpoint, config.audio_model, config.device))
    decoder = root / config.decoder if config.decoder is not None else None
    card = config.tokenizer_card
    if holds_prompt(local_folder(config.checkpoint, weights=False)):
        own = SpeechPromptModel.from_pretrained(config.checkpoint, device=config.device)
        return _of_audio_model(config, OwnAudioModel(own))
    model = CSLMForCausalLM.from_pretrained(
        config.checkpoint,
        tokenizer_card=root / card if card is not None and (root / card).exists() else card,
        decoder=decoder,
        device=config.device,
    )
    tasks = model.eval().tasks()
    ear = ModelRecognizer(tasks, config.ears.own)
    return ScoredModel(config, tasks, ear, _other_ear(config.ears.other, root))


def _of_audio_model(config: ScoreConfig, audio_model: AudioTextModel) -> ScoredModel:
    nothing: Any = _NoTasks(config.checkpoint)
    return ScoredModel(config, nothing, nothing, None, audio_model)


class _NoTasks:
    """In the place of the tasks of a model with units, for one that has none."""

    def __init__(self, checkpoint: str) -> None:
        self._checkpoint = checkpoint

    def __getattr__(self, name: str) -> Any:
        raise UserError(
            f"{self._checkpoint} hears recordings as vectors and writes text alone: of the scores it can be given "
            "those of answers to recordings (imitation)"
        )


def transcripts(name: str, items: Sequence[tuple[Utterance, Path]], heard: Sequence[str]) -> list[dict[str, str]]:
    """A line for each item of a set, for who wants to read the errors: set, id, language, reference, heard."""
    return [
        {"set": name, "id": one.id, "language": one.language, "reference": one.text, "heard": text}
        for (one, _), text in zip(items, heard, strict=True)
    ]


def load_clip(utterance: Utterance, path: Path) -> Clip:
    """The waveform of an utterance.

    Raises:
        UserError: it cannot be read.
    """
    return load_waveform(path, utterance.start_sec, utterance.duration_sec, channel=utterance.channel)


def spread(items: Sequence[Item], most: int | None) -> list[Item]:
    """All items, or ``most`` of them at even distances."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[round(index)] for index in np.linspace(0, len(items) - 1, most)]


def _is_english(language: str) -> bool:
    return language_tag(language).split("-")[0] == "en"


def _other_ear(given: OtherEarConfig | None, root: Path) -> Recognizer | None:
    if given is None:
        return None
    lines = [line for name in given.sentences for _, line in read_json_lines(root / name)]
    english = [line for line in lines if "language" in line and _is_english(str(line["language"]))]
    sentences = [str(line["text"]) for line in english if "text" in line]
    if not sentences:
        raise UserError(f"ears.other.sentences: {', '.join(given.sentences)} hold no text with language en")
    cores = len(os.sched_getaffinity(0))
    ear: Recognizer = ear_class(given.recognizer)(sentences, given.num_workers or cores)
    return ear
