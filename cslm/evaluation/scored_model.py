"""A model under test with what its scores need: test items, its own ear, another ear, a decoder, a generator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from cslm.audio.waveform import load_waveform
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.evaluation.ears import ear_class
from cslm.evaluation.recognizers import Clip, ModelRecognizer, Recognizer
from cslm.evaluation.score_config import ScoreConfig
from cslm.files.json_lines import read_json_lines
from cslm.generation.modeling import CSLMForCausalLM
from cslm.generation.processor import CSLMProcessor
from cslm.generation.speech_tasks import SpeechTasks

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
    transcripts: list[dict[str, str]] = field(default_factory=list)
    """what was heard of each item of the ASR and TTS sets: set, id, language, reference, heard"""

    @property
    def processor(self) -> CSLMProcessor:
        """Text tokenizer, speech tokenizer and decoder."""
        return self.tasks.processor

    def path(self, name: str) -> Path:
        """A path of the configuration, from its data root."""
        return Path(self.config.data_root) / name

    def note(self, name: str, items: Sequence[tuple[Utterance, Path]], heard: Sequence[str]) -> None:
        """Keep what was heard of the items of a set, for who wants to read the errors."""
        for (utterance, _), text in zip(items, heard, strict=True):
            kept = {"set": name, "id": utterance.id, "language": utterance.language}
            self.transcripts.append({**kept, "reference": utterance.text, "heard": text})

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

    def speak(self, units: Sequence[Any], languages: Sequence[str]) -> list[Clip]:
        """The waveform of each stretch of units in the voice of its language."""
        decoder = self.processor.speech_decoder()
        voices = [self.processor.voice(language) for language in languages]
        return [(waveform, decoder.sample_rate_hz) for waveform in decoder.decode_batch(units, voices)]


def open_scored_model(config: ScoreConfig) -> ScoredModel:
    """Open the checkpoint, its decoder and the other ear.

    Raises:
        UserError: a part that is missing or does not belong to the others.
    """
    root = Path(config.data_root)
    _check_files(config, root)
    decoder = root / config.decoder if config.decoder is not None else None
    card = config.tokenizer_card
    model = CSLMForCausalLM.from_pretrained(
        config.checkpoint,
        tokenizer_card=root / card if card is not None and (root / card).exists() else card,
        decoder=decoder,
    )
    tasks = model.eval().tasks()
    if config.tts_test is not None or config.test_dialogues is not None:
        tasks.processor.speech_decoder()
    return ScoredModel(config, tasks, ModelRecognizer(tasks, config.asr), _other_ear(config, root))


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


def _check_files(config: ScoreConfig, root: Path) -> None:
    """Every file that will be read is there: said now, not after minutes of work."""
    sets = [config.asr_test, config.asr_unheard_voice, config.tts_test, config.dialogue_test, config.test_dialogues]
    named = [*sets, *config.asr_sets.values(), *(config.other_ear.sentences if config.other_ear else [])]
    for name in named:
        if name is not None and not (root / name).is_file():
            raise UserError(
                f"{root / name}: there is no such file: prepare the corpus, or give its folder as data_root"
            )


def _other_ear(config: ScoreConfig, root: Path) -> Recognizer | None:
    given = config.other_ear
    if given is None:
        return None
    rows = [row for name in given.sentences for _, row in read_json_lines(root / name)]
    sentences = [str(row["text"]) for row in rows if str(row.get("language", "")).startswith("en") and "text" in row]
    if not sentences:
        raise UserError(f"other_ear.sentences: {', '.join(given.sentences)} hold no text with language en")
    cores = len(os.sched_getaffinity(0))
    ear: Recognizer = ear_class(given.recognizer)(sentences, given.num_workers or cores)
    return ear
