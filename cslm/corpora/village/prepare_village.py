"""The village: a closed world of facts, told in several languages by a real synthesizer; every answer can be checked.

What is held out (person, attribute pairs) is known from the written documents only: no training audio, in any language
or task, holds a question or answer about it, nor a sentence that names the person with the attribute or a value of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
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
from cslm.corpora.village.sentences import (
    IN_TESTS,
    IN_TRAINING,
    FreeSentence,
    FreeSentences,
    Question,
    Teller,
)
from cslm.corpora.village.speech import (
    Cast,
    Line,
    answer_line,
    asking_line,
    draw_cast,
    num_cores,
    speak_lines,
)
from cslm.corpora.village.tables import VillageSize, load_language, load_size
from cslm.corpora.village.texts import (
    all_questions,
    instructions,
    stories,
    text_dialogues,
    translations,
)
from cslm.corpora.village.world import World, make_world
from cslm.files.json_lines import write_json_lines

MANIFESTS = ("train", "asr_test", "asr_unheard_voice", "tts_test", "dialogue_test")
"""Names of the manifests, without ``.jsonl``."""

_SHARE_CLAUSES_IN_TTS_TEST = 0.6
"""Of the free sentences in the test of the answer voice, those made of answer clauses."""


@dataclass
class VillageConfig:
    """Which village."""

    size: str = "small"
    """small, full or tiny, or the path of a YAML file."""
    seed: int = 0
    """Draws the facts, the voices, the sentences and what is held out."""
    num_workers: int = 0
    """Processes that speak; 0 takes one per core. The corpus does not depend on it."""


@dataclass
class _Free:
    """Free sentences by their use."""

    clauses: list[FreeSentence]
    answer_voice: list[FreeSentence]
    question_voice: list[FreeSentence]
    short: list[FreeSentence]
    asr_test: list[FreeSentence]
    unheard_test: list[FreeSentence]
    tts_test: list[FreeSentence]

    @property
    def training(self) -> list[FreeSentence]:
        """All that training may see."""
        return self.clauses + self.answer_voice + self.question_voice


@dataclass
class _Script:
    """Everything that is to be spoken: lines by manifest, and which question or sentence stands behind which line."""

    lines: dict[str, list[Line]] = field(default_factory=lambda: {name: [] for name in MANIFESTS})
    asked: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    answered: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    tested: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    free_asked: dict[str, list[str]] = field(default_factory=dict)
    free_answered: dict[str, list[str]] = field(default_factory=dict)


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
    free = _draw_free(tellers, size, _generator(config, 2))
    questions = test_questions(world, size.num_question_forms, size.num_dialogue_test, _generator(config, 3))
    script = _Script()
    for index, (teller, cast) in enumerate(zip(tellers, casts, strict=True)):
        _write_training(script, teller, cast, free, _generator(config, 10 + index))
        _write_tests(script, teller, cast, free, questions, _generator(config, 100 + index))
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


def _draw_free(tellers: list[Teller], size: VillageSize, generator: np.random.Generator) -> _Free:
    """Draw the free sentences, the tests' first; none is a question or an answer of a dialogue."""
    source = FreeSentences(tellers, generator)
    for teller in tellers:
        told = all_questions(teller.world.pairs, size)
        source.reserve([text for question in told for text in (teller.question(question), teller.answer(question))])
    half = size.num_tts_test // 2
    num_clauses = round(_SHARE_CLAUSES_IN_TTS_TEST * half)
    return _Free(
        asr_test=list(source.mixed(size.num_asr_test // 2, True, IN_TESTS)),
        unheard_test=list(source.mixed(size.num_unheard_test // 2, True, IN_TESTS)),
        tts_test=[*source.clauses(num_clauses, IN_TESTS), *source.mixed(half - num_clauses, False, IN_TESTS)],
        clauses=list(source.clauses(size.num_clause_sentences, IN_TRAINING)),
        answer_voice=list(source.mixed(size.num_other_answer_voice_sentences, False, IN_TRAINING)),
        question_voice=list(source.mixed(size.num_question_voice_sentences, True, IN_TRAINING)),
        short=list(source.short(size.num_short_sentences)),
    )


def _write_training(script: _Script, teller: Teller, cast: Cast, free: _Free, generator: np.random.Generator) -> None:
    size, language, code = teller.size, teller.language, teller.language.language
    lines: list[Line] = []
    script.asked[code], script.answered[code] = [], []
    for question in all_questions(teller.world.heard_pairs, size):
        number, text = len(script.answered[code]), teller.answer(question)
        line = answer_line(number, "answer", text, language, f"answer-{question.key}")
        script.answered[code].append((question, line.id))
        lines.append(line)
        for voice in generator.choice(cast.heard, size.voices_per_question, replace=False):
            number, text = len(script.asked[code]), teller.question(question)
            line = asking_line(
                number, "question", text, language, str(voice), size.jitter, generator, f"question-{question.key}"
            )
            script.asked[code].append((question, line.id))
            lines.append(line)
    clauses = _answer_lines("clause", free.clauses, teller)
    said_back = free.clauses[: size.num_free_dialogues_per_direction]
    back = _asking_lines("repeat", said_back, teller, cast.heard, generator, "clause")
    asking = _asking_lines("asking", free.question_voice, teller, cast.heard, generator)
    short = _asking_lines("short", free.short, teller, cast.heard, generator)
    script.free_asked[code] = [line.id for line in back]
    script.free_answered[code] = [line.id for line in clauses[: len(back)]]
    script.lines["train"] += lines + clauses + back + _answer_lines("other", free.answer_voice, teller) + asking + short


def _write_tests(
    script: _Script,
    teller: Teller,
    cast: Cast,
    free: _Free,
    questions: list[Question],
    generator: np.random.Generator,
) -> None:
    size, language, code = teller.size, teller.language, teller.language.language
    for name, kind, sentences, total, voices in (
        ("asr_test", "asr-test", free.asr_test, size.num_asr_test, cast.heard),
        ("asr_unheard_voice", "unheard-test", free.unheard_test, size.num_unheard_test, [cast.unheard]),
    ):
        spoken = _asking_lines(kind, sentences, teller, voices, generator)
        for question in _some(questions, total - len(sentences), generator):
            text, voice = teller.question(question), str(generator.choice(voices))
            spoken.append(asking_line(len(spoken), kind, text, language, voice, size.jitter, generator))
        script.lines[name] += spoken
    spoken = _answer_lines("tts-test", free.tts_test, teller)
    for question in _some(questions, size.num_tts_test - len(spoken), generator):
        clauses, _ = teller.answer_clauses(question)
        text = language.finish(clauses[:2], ["clause", "sentence"])
        spoken.append(answer_line(len(spoken), "tts-test", text, language))
    script.lines["tts_test"] += spoken
    script.tested[code] = []
    for number, question in enumerate(questions):
        voice, text = str(generator.choice(cast.heard)), teller.question(question)
        line = asking_line(number, "dialogue-test", text, language, voice, size.jitter, generator)
        script.tested[code].append((question, line.id))
        script.lines["dialogue_test"].append(line)


def _answer_lines(kind: str, sentences: list[FreeSentence], teller: Teller) -> list[Line]:
    code = teller.language.language
    return [
        answer_line(number, kind, sentence.texts[code], teller.language, _group(kind, number, sentence))
        for number, sentence in enumerate(sentences)
    ]


def _asking_lines(
    kind: str,
    sentences: list[FreeSentence],
    teller: Teller,
    voices: list[str],
    generator: np.random.Generator,
    said_before_as: str | None = None,
) -> list[Line]:
    """Lines in random voices; those of sentences that another kind says too are of the groups of that kind."""
    code, jitter = teller.language.language, teller.size.jitter
    return [
        asking_line(
            number,
            kind,
            sentence.texts[code],
            teller.language,
            str(generator.choice(voices)),
            jitter,
            generator,
            _group(said_before_as or kind, number, sentence),
        )
        for number, sentence in enumerate(sentences)
    ]


def _group(kind: str, number: int, sentence: FreeSentence) -> str | None:
    return f"{kind}-{number:06d}" if sentence.translated else None


def _some(questions: list[Question], count: int, generator: np.random.Generator) -> list[Question]:
    """``count`` questions, all different as long as there are enough."""
    order: list[int] = []
    while len(order) < count:
        order += generator.permutation(len(questions)).tolist()
    return [questions[index] for index in order[:count]]


def _check_unheard(lines: Iterable[Line], tellers: list[Teller]) -> None:
    """The promise of the held-out pairs, over everything that training may hear."""
    mentions = {teller.language.language: teller.mentions for teller in tellers}
    for line in lines:
        assert not mentions[line.language].join_held_out(line.text), f"{line.id} says what is held out: {line.text}"


def _record(script: _Script, output: Path, num_workers: int) -> dict[str, dict[str, Utterance]]:
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
    free: _Free,
    script: _Script,
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
