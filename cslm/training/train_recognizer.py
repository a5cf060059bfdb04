"""``train-recognizer``: a small speech recognizer from nothing, from manifests.

Its folder is a plain one of transformers. A Whisper hears for speech prompts, and its decoder starts their Q-Former.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cslm.batches.document_index import IndexFolder
from cslm.batches.documents import JsonLines
from cslm.batches.recording_index import FIELDS, RecordingIndex, index_recordings
from cslm.batches.recording_sources import RecordedClip
from cslm.chosen_section import chosen_section
from cslm.configuration import parse_configuration
from cslm.corpora.manifest import Utterance, resolve_audio, utterance_of
from cslm.errors import UserError
from cslm.model.recognizer.recognizer import SAMPLE_RATE_HZ, Recognizer
from cslm.model.recognizer.recognizer_config import RecognizerConfig
from cslm.model.recognizer.recognizer_stream import Lesson, RecognizerStream
from cslm.model.recognizer.recognizers import RECOGNIZERS
from cslm.training.engine import preparation, start_processes, wait_for_all
from cslm.training.loop import is_finished, train
from cslm.training.run_claim import claim
from cslm.training.run_folder import INDEX_FOLDER, LOCK_FILE, check_output
from cslm.training.state import MadeOf
from cslm.training.training_config import TrainingConfig

_FRAMES_A_SECOND = 100


@dataclass
class TrainRecognizerConfig:
    """One run of ``train-recognizer``. Relative paths are looked up from ``data_root``."""

    output: str
    """folder of the run: checkpoints, logs, and at the end the recognizer"""
    manifests: list[str]
    """manifests whose recordings it learns to transcribe, in all of their languages"""
    training: TrainingConfig
    """length, batches, optimizer, logs; its tokens are frames of 10 ms, and each recording counts as a whole window"""
    recognizer: RecognizerConfig = field(default_factory=RecognizerConfig)
    """which family, and of what size"""
    data_root: str = "."
    """folder that relative paths start from"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value that a recognizer does not read, by name.
        """
        if not self.manifests:
            raise UserError("manifests is empty: name a manifest")
        device, data = self.training.device, self.training.data
        given = {"device.compile": device.compile, "device.gradient_checkpointing": device.gradient_checkpointing}
        given |= {"data.pack false": not data.pack, "data.alternate": data.alternate is not None}
        for name, is_given in given.items():
            if is_given:
                raise UserError(f"training.{name} is for language models: leave it out for a recognizer")
        if device.precision != "fp32":
            raise UserError(f"training.device.precision is {device.precision!r}: the recognizer learns in fp32")


def train_recognizer(config: TrainRecognizerConfig) -> None:
    """Train to the end of the configuration; an interrupted run goes on, a finished one says so.

    Raises:
        UserError: an output folder of another run, a manifest that cannot be read, or not one recording that can be
            learnt from.
    """
    output = _locate(config, config.output)
    check_output(output, config)
    if is_finished(output, config.training):
        print(f"{output}: already finished; delete the folder to train again, or raise max_tokens", flush=True)
        return
    family, settings = chosen_section(config.recognizer, "recognizer")
    rank, _ = start_processes(config.training.device.num_threads)
    wait_for_all()
    with claim(output, config):
        with preparation():
            corpora = [_read(_locate(config, name), output) for name in config.manifests]
        said = [pair for _, pairs in corpora for pair in pairs]
        languages = sorted({utterance.language for _, utterance in said})
        recognizer = _new(family, settings, [utterance.text for _, utterance in said], languages, config.training.seed)
        lessons = _lessons(recognizer, said, languages, rank)
        stream = _stream(config, lessons, recognizer, languages, settings.window_sec)
        made_of = MadeOf(sources={name: it.digest for name, (it, _) in zip(config.manifests, corpora, strict=True)})
        train(recognizer, stream, config.training, output, recognizer.save, made_of=made_of)
        if rank == 0:
            count = sum(parameter.numel() for parameter in recognizer.parameters())
            print(f"{output}: a recognizer ({family}) of {', '.join(languages)}, {count:,} parameters", flush=True)


def main(arguments: list[str]) -> None:
    """``train-recognizer --config YAML [--section.key value ...]``"""
    train_recognizer(parse_configuration(TrainRecognizerConfig, arguments, "train-recognizer"))


def _locate(config: TrainRecognizerConfig, name: str) -> Path:
    """A path under the data root; one that begins with it already is left as it is."""
    root = Path(config.data_root)
    return Path(name) if Path(name).is_relative_to(root) else root / name


Said = tuple[RecordedClip, Utterance]


def _read(manifest: Path, output: Path) -> tuple[RecordingIndex, list[Said]]:
    """The recordings of a manifest that can be read."""
    kept_in = IndexFolder(output / INDEX_FOLDER, int(os.environ["LOCAL_RANK"]), output / LOCK_FILE)
    lines = JsonLines(manifest, FIELDS)
    index = index_recordings(lines, SAMPLE_RATE_HZ, kept_in)
    if index.rejected and kept_in.local_rank == 0:
        first = index.rejected[0]
        print(f"{manifest}: {len(index.rejected)} recordings cannot be read ({first['id']}: {first['reason']}, ...)")
    found = []
    for offset, num_samples in zip(index.offsets.tolist(), index.lengths.tolist(), strict=True):
        utterance = utterance_of(lines.read(offset), str(manifest))
        part = utterance.start_sec, utterance.duration_sec, utterance.channel
        clip = RecordedClip(resolve_audio(manifest, utterance), *part, SAMPLE_RATE_HZ, num_samples)
        found.append((clip, utterance))
    return index, found


def _new(family: str, settings: Any, texts: list[str], languages: list[str], seed: int) -> Recognizer:
    if not languages:
        raise UserError("the manifests have no recording that can be read")
    module, _, name = RECOGNIZERS[family].partition(":")
    torch.manual_seed(seed)
    recognizer: Recognizer = getattr(importlib.import_module(module), name)(settings, texts, languages)
    return recognizer.train()


def _lessons(recognizer: Recognizer, said: list[Said], languages: list[str], rank: int) -> list[Lesson]:
    """What can be learnt from; what cannot is counted and named.

    Raises:
        UserError: nothing can.
    """
    lessons, faults, names = list[Lesson](), Counter[str](), dict[str, str]()
    for clip, utterance in said:
        labels = recognizer.labels(utterance.text, utterance.language)
        fault = recognizer.fault(clip.num_samples, len(labels)) if utterance.text.strip() else "it has no transcript"
        if fault is None:
            lessons.append(Lesson(clip, labels, languages.index(utterance.language)))
        else:
            faults[fault] += 1
            names.setdefault(fault, utterance.id)
    for fault, count in faults.items() if rank == 0 else ():
        print(f"recordings left out, {fault}: {count:,} ({names[fault]}, ...)", flush=True)
    if not lessons:
        raise UserError(f"not one of {len(said)} recordings can be learnt from: {next(iter(faults))}")
    return lessons


def _stream(
    config: TrainRecognizerConfig, lessons: list[Lesson], recognizer: Recognizer, languages: list[str], window_sec: int
) -> RecognizerStream:
    frames, training = window_sec * _FRAMES_A_SECOND, config.training
    groups = [f"recognition/text/{language}" for language in languages]
    per_step, per_micro = (
        max(1, tokens // frames) for tokens in (training.tokens_per_step, training.tokens_per_micro_batch)
    )
    return RecognizerStream(lessons, recognizer, groups, frames, per_step, per_micro, training.seed)
