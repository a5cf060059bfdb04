"""Audio-MLQA: MLQA's passages as text, its questions spoken (LAD, arXiv 2603.07025, section 6).

The paper takes 250 questions of each of five languages. Its voice is not told: here it is any synthesizer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cslm.corpora.intake import REJECTED
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.corpora.mlqa import PassageQuestion, read_mlqa
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.ranges import Range, check_numbers
from cslm.synthesis.failure import Failure
from cslm.synthesis.recordings import Recording, RecordingConfig, Recordings, Wanted, check_voice, remove_others
from cslm.synthesis.synthesizer_config import SynthesizerConfig
from cslm.synthesis.synthesizers import SpeechSynthesizer, open_synthesizer


@dataclass
class AudioMlqaConfig:
    """Which questions, and who says them."""

    source: str = "facebook/mlqa"
    """Folder of MLQA's release, or a hub id."""
    split: str = "test"
    """test or dev."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    languages: list[str] = field(default_factory=lambda: ["en", "es", "de", "vi", "zh"])
    """Languages of passage and question; MLQA has ar, de, en, es, hi, vi, zh."""
    questions: int = 250
    """Of each language, drawn by the seed."""
    voices: dict[str, str] = field(default_factory=dict)
    """Language to the name of its voice (default: the synthesizer's first)."""
    synthesizer: SynthesizerConfig = field(default_factory=SynthesizerConfig)
    """What says the questions."""
    recordings: RecordingConfig = field(default_factory=RecordingConfig)
    """Which recordings are kept, and at which rate."""
    seed: int = 0
    """Which questions are drawn."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, by name.
        """
        check_numbers(self, "", questions=Range(least=1))
        if self.split not in ("test", "dev"):
            raise UserError(f"split is {self.split!r}: choose test or dev")
        if not self.languages:
            raise UserError("languages is empty: name one or more")


def prepare_audio_mlqa(output: Path, config: AudioMlqaConfig) -> None:
    """Write ``manifest.jsonl`` (the spoken questions) and ``dialogues.jsonl`` (passage, question, answers).

    A passage is the ``instruction`` of its dialogue: it stands before the recording. What cannot be said is listed in
    ``rejected.jsonl``, and the next question is taken.

    Raises:
        UserError: no such data, too few questions, or a language that the synthesizer does not speak.
    """
    synthesizer = open_synthesizer(config.synthesizer)
    recordings = Recordings(output, synthesizer, config.recordings)
    utterances, dialogues, rejected = list[Utterance](), list[dict[str, Any]](), list[dict[str, Any]]()
    for said in config.languages:
        language = language_tag(said)
        voice = _voice(synthesizer, config, said, language)
        found = sorted(read_mlqa(config.source, config.split, config.revision, language), key=lambda one: one.id)
        order = np.random.default_rng([config.seed, len(found)]).permutation(len(found)).tolist()
        kept = 0
        for question, recording in _recorded(recordings, [found[index] for index in order], voice, config.questions):
            if isinstance(recording, Failure):
                rejected.append({"id": f"{language}-{question.id}", "reason": recording.reason})
                continue
            kept += 1
            utterance, dialogue = _records(question, recording, voice)
            utterances.append(utterance)
            dialogues.append(dialogue)
        if kept < config.questions:
            raise UserError(
                f"{config.source}: {language} has {kept} questions that can be said, and {config.questions} are "
                "wanted: lower questions"
            )
    write_manifest(utterances, output / "manifest.jsonl")
    write_json_lines(dialogues, output / "dialogues.jsonl")
    write_json_lines(rejected, output / REJECTED)
    remove_others(output, {utterance.audio for utterance in utterances})
    print(f"{len(dialogues)} questions in {len(config.languages)} languages, {len(rejected)} could not be said")


def _voice(synthesizer: SpeechSynthesizer, config: AudioMlqaConfig, said: str, language: str) -> str:
    voice = config.voices.get(said, config.voices.get(language, synthesizer.voices(language)[0]))
    check_voice(synthesizer, language, voice)
    return voice


def _recorded(
    recordings: Recordings, questions: list[PassageQuestion], voice: str, count: int
) -> Iterator[tuple[PassageQuestion, Recording | Failure]]:
    """Questions until ``count`` of them are recorded."""
    kept = start = 0
    while kept < count and start < len(questions):
        part = questions[start : start + count - kept]
        start += len(part)
        made = recordings.record([Wanted(one.question, one.language, voice) for one in part])
        kept += sum(not isinstance(recording, Failure) for recording in made)
        yield from zip(part, made, strict=True)


def _records(question: PassageQuestion, recording: Recording, voice: str) -> tuple[Utterance, dict[str, Any]]:
    language, name = question.language, f"{question.language}-{question.id}"
    utterance = Utterance(
        name, recording.path, question.question, language, duration_sec=recording.duration_sec, speaker=voice,
        group=question.id,
    )  # fmt: skip
    dialogue = {
        "id": name, "direction": language, "question": name, "question_language": language,
        "question_text": question.question, "question_reference": question.question, "instruction": question.context,
        "answer_language": language, "answer_text": question.answers[0], "answers": list(question.answers),
    }  # fmt: skip
    return utterance, dialogue
