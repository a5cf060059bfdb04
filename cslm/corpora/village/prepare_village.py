"""The village: a closed world of facts, told in several languages by a real synthesizer; every answer can be checked.

What is held out (person, attribute pairs) is known from the written documents only: no training audio, in any language
or task, holds a question or answer about it, nor a sentence that names the person with the attribute or a value of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cslm.audio.espeak import Synthesizer
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.corpora.village.dialogues import (
    fact_dialogues,
    free_dialogues,
    test_dialogues,
    test_questions,
)
from cslm.corpora.village.script import MANIFESTS, FreeByUse, Script, draw_free, write_tests, write_training
from cslm.corpora.village.sentences import (
    Teller,
)
from cslm.corpora.village.speech import (
    Cast,
    Line,
    draw_cast,
    num_cores,
    speak_lines,
)
from cslm.corpora.village.tables import VillageSize, load_language, load_size
from cslm.corpora.village.texts import (
    instructions,
    stories,
    text_dialogues,
    translations,
)
from cslm.corpora.village.world import World, make_world
from cslm.files.json_lines import write_json_lines


@dataclass
class VillageConfig:
    """Which village."""

    size: str = "small"
    """small, full or tiny, or the path of a YAML file."""
    seed: int = 0
    """Draws the facts, the voices, the sentences and what is held out."""
    num_workers: int = 0
    """Processes that speak; 0 takes one per core. The corpus does not depend on it."""


def prepare_village(output: Path, config: VillageConfig) -> None:
    """Write the corpus into the folder ``output``: audio, manifests, dialogues, written documents, ``card.json``.

    Raises:
        UserError: a size or table that does not fit.
        MissingExtraError: the synthesizer is not installed.
    """
    Synthesizer()  # a missing one is said at once
    size = load_size(config.size)
    tellers, world = _tellers(size, _generator(config, 0))
    casts = [
        draw_cast(teller.language, size.num_question_voices, _generator(config, 50 + index))
        for index, teller in enumerate(tellers)
    ]
    free = draw_free(tellers, size, _generator(config, 2))
    questions = test_questions(world, size.num_question_forms, size.num_dialogue_test, _generator(config, 3))
    script = Script()
    for index, (teller, cast) in enumerate(zip(tellers, casts, strict=True)):
        write_training(script, teller, cast, free, _generator(config, 10 + index))
        write_tests(script, teller, cast, free, questions, _generator(config, 100 + index))
    _check_unheard(script.lines["train"], tellers)
    utterances = _record(script, output, config.num_workers or num_cores())
    _write_documents(output, tellers, size, free, script, utterances, config)
    _write_card(output, config, size, tellers, casts, utterances)


def _generator(config: VillageConfig, stage: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, stage])


def _tellers(size: VillageSize, generator: np.random.Generator) -> tuple[list[Teller], World]:
    languages = [load_language(name, size) for name in size.languages]
    num_values = [len(languages[0].attributes[name].values) for name in size.attributes]
    world = make_world(size, num_values, generator)
    return [Teller(language, size, world) for language in languages], world


def _check_unheard(lines: Iterable[Line], tellers: list[Teller]) -> None:
    """The promise of the held-out pairs, over everything that training may hear."""
    mentions = {teller.language.language: teller.mentions for teller in tellers}
    for line in lines:
        assert not mentions[line.language].join_held_out(line.text), f"{line.id} says what is held out: {line.text}"


def _record(script: Script, output: Path, num_workers: int) -> dict[str, dict[str, Utterance]]:
    """Speak everything and write the manifests; returns the utterances by manifest and id."""
    lines = [line for name in MANIFESTS for line in script.lines[name]]
    spoken = {utterance.id: utterance for utterance in speak_lines(lines, output, num_workers)}
    by_manifest = {name: {line.id: spoken[line.id] for line in script.lines[name]} for name in MANIFESTS}
    for name, utterances in by_manifest.items():
        write_manifest(utterances.values(), output / f"{name}.jsonl")
    return by_manifest


def _write_documents(
    output: Path,
    tellers: list[Teller],
    size: VillageSize,
    free: FreeByUse,
    script: Script,
    utterances: dict[str, dict[str, Utterance]],
    config: VillageConfig,
) -> None:
    train, test = utterances["train"], utterances["dialogue_test"]
    asked = {code: [(question, train[name]) for question, name in rows] for code, rows in script.asked.items()}
    answered = {code: {question: train[name] for question, name in rows} for code, rows in script.answered.items()}
    free_asked = {code: [train[name] for name in names] for code, names in script.free_asked.items()}
    free_answered = {code: [train[name] for name in names] for code, names in script.free_answered.items()}
    tested = {code: [(question, test[name]) for question, name in rows] for code, rows in script.tested.items()}
    free_rows = free_dialogues(tellers, free_asked, free_answered)
    write_json_lines([*fact_dialogues(tellers, asked, answered), *free_rows], output / "train_dialogues.jsonl")
    write_json_lines(test_dialogues(tellers, tested), output / "test_dialogues.jsonl")
    told = free.answer_voice + free.question_voice  # not the clauses: their random values contradict the facts
    told = [told[index] for index in _generator(config, 5).permutation(len(told))]
    write_json_lines(stories(tellers, size, told, _generator(config, 6)), output / "texts.jsonl")
    write_json_lines(instructions(tellers, size, _generator(config, 7)), output / "instructions.jsonl")
    write_json_lines(text_dialogues(tellers, size), output / "text_dialogues.jsonl")
    write_json_lines(translations(tellers, size, free.training, _generator(config, 8)), output / "translations.jsonl")


def _write_card(
    output: Path,
    config: VillageConfig,
    size: VillageSize,
    tellers: list[Teller],
    casts: list[Cast],
    utterances: dict[str, dict[str, Utterance]],
) -> None:
    world, first = tellers[0].world, tellers[0]
    held_out = [[first.names[person], world.attributes[attribute]] for person, attribute in sorted(world.held_out)]
    _write_json(held_out, output / "held_out.json")
    card: dict[str, Any] = {
        "corpus": "village",
        "size": Path(config.size).stem,
        "seed": config.seed,
        "num_people": size.num_people,
        "attributes": size.attributes,
        "num_held_out": len(held_out),
        "languages": {
            teller.language.language: {
                "answer_voice": cast.answer.voice,
                "question_voices": cast.heard,
                "unheard_voice": cast.unheard,
                "people": teller.names,
                "facts": _facts(teller),
            }
            for teller, cast in zip(tellers, casts, strict=True)
        },
        "manifests": {name: _counts(rows.values()) for name, rows in utterances.items()},
    }
    _write_json(card, output / "card.json")


def _facts(teller: Teller) -> dict[str, dict[str, str]]:
    return {
        name: {
            attribute: teller.world.value(teller.language, (person, index))
            for index, attribute in enumerate(teller.world.attributes)
        }
        for person, name in enumerate(teller.names)
    }


def _counts(utterances: Iterable[Utterance]) -> dict[str, float]:
    durations = [utterance.duration_sec or 0.0 for utterance in utterances]
    return {"num_utterances": len(durations), "audio_sec": round(sum(durations), 1)}


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
