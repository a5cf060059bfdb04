"""The village: a closed world of facts, told in several languages by a real synthesizer; every answer can be checked.

What is held out (person, attribute pairs) is known from the written documents only: no training audio, in any language
or task, holds a question or answer about it, nor a sentence that names the person with the attribute or a value of it.
Some sizes have core people too, whose facts only the core language's documents tell (``core_facts.py``), or aligned
stories (``aligned_stories.py``).
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
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.village.core_facts import core_chains, core_tests, said_back_chains
from cslm.village.dialogues import (
    fact_dialogues,
    free_dialogues,
    test_dialogues,
    test_questions,
)
from cslm.village.language import Language
from cslm.village.parallel import side_by_side
from cslm.village.script import FreeByUse, Script, draw_free, write_core, write_tests, write_training
from cslm.village.sentences import Question, Teller
from cslm.village.size import VillageSize
from cslm.village.speech import (
    Cast,
    draw_cast,
    num_cores,
    speak_lines,
)
from cslm.village.story_records import StoryBook, make_story_book
from cslm.village.tables import load_language, load_size
from cslm.village.texts import (
    instructions,
    stories,
    text_dialogues,
    translations,
)
from cslm.village.turn_dialogues import turn_dialogues, turn_tests
from cslm.village.world import World, make_world


@dataclass
class VillageConfig:
    """Which village."""

    size: str = "small"
    """small, full or tiny, five, stories or tiny_five, or the path of a YAML file."""
    seed: int = 0
    """Draws the facts, the voices, the sentences, the stories and what is held out."""
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
    tellers, world = _tellers(size, _generator(config, 0), _generator(config, 1000))
    casts = [
        draw_cast(teller.language, size.num_question_voices, _generator(config, 50 + index))
        for index, teller in enumerate(tellers)
    ]
    free = draw_free(tellers, size, _generator(config, 2))
    held_out = sorted(world.held_out)
    questions = test_questions(held_out, size.num_question_forms, size.num_dialogue_test, _generator(config, 3))
    script = Script()
    for index, (teller, cast) in enumerate(zip(tellers, casts, strict=True)):
        write_training(script, teller, cast, free, _generator(config, 10 + index))
        write_tests(script, teller, cast, free, questions, _generator(config, 100 + index))
    _ask_about_core_people(script, tellers, casts, config)
    stories = make_story_book(tellers, size, _generator(config, 1002), _generator(config, 1003))
    for name, lines in stories.lines.items():
        script.add(name, [line for told in lines.values() for line in told])
    _check_unheard(script, tellers)
    utterances = _record(script, output, config.num_workers or num_cores())
    _write_documents(output, tellers, size, free, script, utterances, config)
    _write_core_documents(output, tellers, free, script, utterances)
    _write_story_documents(output, stories)
    _write_card(output, config, size, tellers, casts, utterances, stories.speakers)


def tellers_of(size: VillageSize, seed: int) -> list[Teller]:
    """Those who tell of a village, a language each, as :func:`prepare_village` has them of this size and seed."""
    config = VillageConfig(seed=seed)
    return _tellers(size, _generator(config, 0), _generator(config, 1000))[0]


def _generator(config: VillageConfig, stage: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, stage])


def _tellers(
    size: VillageSize, generator: np.random.Generator, of_words: np.random.Generator
) -> tuple[list[Teller], World]:
    languages = side_by_side([load_language(name, size) for name in size.languages], size, of_words)
    _check_core(languages, size)
    num_values = [len(languages[0].attributes[name].values) for name in size.attributes]
    world = make_world(size, num_values, generator)
    return [Teller(language, size, world) for language in languages], world


def _check_core(languages: list[Language], size: VillageSize) -> None:
    codes = [language.language for language in languages]
    if size.num_core_people and size.core_language not in codes:
        raise UserError(f"core_language is {size.core_language!r}, but the languages are {', '.join(codes)}")


def _core(tellers: list[Teller]) -> Teller | None:
    """The one who tells of the core people, if there are any."""
    size = tellers[0].size
    told = [teller for teller in tellers if teller.language.language == size.core_language]
    return told[0] if told and size.num_core_people else None


def _ask_about_core_people(script: Script, tellers: list[Teller], casts: list[Cast], config: VillageConfig) -> None:
    core = _core(tellers)
    if core is None:
        return
    size, pairs = core.size, core.world.core_pairs(tested=True)
    tested = test_questions(pairs, size.num_question_forms, size.num_core_test, _generator(config, 1001))
    for index, (teller, cast) in enumerate(zip(tellers, casts, strict=True)):
        if teller is not core:
            write_core(script, teller, cast, tested, _generator(config, 1100 + index))


def _check_unheard(script: Script, tellers: list[Teller]) -> None:
    """The promise of the held-out pairs and of the core people, over everything that training may hear."""
    told_aloud = {name for rows in script.core_answered.values() for _, name in rows}
    by_language = {teller.language.language: teller for teller in tellers}
    for line in script.lines["train"] + script.lines.get("story_train", []):
        mentions = by_language[line.language].mentions
        assert not mentions.join_held_out(line.text), f"{line.id} says what is held out: {line.text}"
        assert line.id in told_aloud or not mentions.tell_core(line.text), (
            f"{line.id} tells of core people: {line.text}"
        )


def _record(script: Script, output: Path, num_workers: int) -> dict[str, dict[str, Utterance]]:
    """Speak everything and write the manifests; returns the utterances by manifest and id."""
    lines = [line for of_manifest in script.lines.values() for line in of_manifest]
    spoken = {utterance.id: utterance for utterance in speak_lines(lines, output, num_workers)}
    by_manifest = {name: {line.id: spoken[line.id] for line in lines} for name, lines in script.lines.items()}
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
    train = utterances["train"]
    asked, answered = _with_utterances(script.asked, train), _by_question(script.answered, train)
    free_asked, free_answered = _by_name(script.free_asked, train), _by_name(script.free_answered, train)
    tested = _with_utterances(script.tested, utterances["dialogue_test"])
    free_rows = free_dialogues(tellers, free_asked, free_answered)
    write_json_lines([*fact_dialogues(tellers, asked, answered), *free_rows], output / "train_dialogues.jsonl")
    write_json_lines(test_dialogues(tellers, tested), output / "test_dialogues.jsonl")
    if size.num_turn_dialogues:
        rows = turn_dialogues(tellers, asked, answered, size, _generator(config, 9))
        write_json_lines(rows, output / "turn_dialogues.jsonl")
        write_json_lines(turn_tests(test_dialogues(tellers, tested), size), output / "turn_test_dialogues.jsonl")
    told = free.answer_voice + free.question_voice  # not the clauses: their random values contradict the facts
    told = [told[index] for index in _generator(config, 5).permutation(len(told))]
    write_json_lines(stories(tellers, size, told, _generator(config, 6)), output / "texts.jsonl")
    write_json_lines(instructions(tellers, size, _generator(config, 7)), output / "instructions.jsonl")
    write_json_lines(text_dialogues(tellers, size), output / "text_dialogues.jsonl")
    alike = free.training + free.statements
    write_json_lines(translations(tellers, size, alike, _generator(config, 8)), output / "translations.jsonl")


def _write_core_documents(
    output: Path,
    tellers: list[Teller],
    free: FreeByUse,
    script: Script,
    utterances: dict[str, dict[str, Utterance]],
) -> None:
    core, train = _core(tellers), utterances["train"]
    if core is None:
        return
    asked, answered = _with_utterances(script.asked, train), _by_question(script.answered, train)
    chains = [*core_chains(core, tellers, "shared", asked, answered)]
    asked, answered = _with_utterances(script.core_asked, train), _by_question(script.core_answered, train)
    chains += core_chains(core, tellers, "core", asked, answered)
    free_asked, free_answered = _by_name(script.free_asked, train), _by_name(script.free_answered, train)
    chains += said_back_chains(core, tellers, free.clauses, free_asked, free_answered)
    write_json_lines(chains, output / "chains.jsonl")
    tested = _with_utterances(script.core_tested, utterances["core_test"])
    write_json_lines(core_tests(core, tellers, tested), output / "core_test_dialogues.jsonl")


def _write_story_documents(output: Path, stories: StoryBook) -> None:
    if stories.lines:
        write_json_lines(stories.records(), output / "stories.jsonl")
        write_json_lines(stories.pairs(), output / "story_pairs.jsonl")


def _by_name(names: dict[str, list[str]], spoken: dict[str, Utterance]) -> dict[str, list[Utterance]]:
    return {code: [spoken[name] for name in own] for code, own in names.items()}


def _with_utterances(
    rows: dict[str, list[tuple[Question, str]]], spoken: dict[str, Utterance]
) -> dict[str, list[tuple[Question, Utterance]]]:
    return {code: [(question, spoken[name]) for question, name in told] for code, told in rows.items()}


def _by_question(
    rows: dict[str, list[tuple[Question, str]]], spoken: dict[str, Utterance]
) -> dict[str, dict[Question, Utterance]]:
    return {code: dict(told) for code, told in _with_utterances(rows, spoken).items()}


def _write_card(
    output: Path,
    config: VillageConfig,
    size: VillageSize,
    tellers: list[Teller],
    casts: list[Cast],
    utterances: dict[str, dict[str, Utterance]],
    speakers: list[str],
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
    if size.num_core_people:
        names = first.names[world.num_shared_people :]
        tested = names[len(names) - world.num_core_test_people :]
        card["core"] = {"language": size.core_language, "people": names, "asked_about_in_tests": tested}
    if speakers:
        card["story_speakers"] = speakers
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
