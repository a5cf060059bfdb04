"""What is to be spoken in the village: which sentences and questions, by whom, for which manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from cslm.village.sentences import (
    IN_TESTS,
    IN_TRAINING,
    FreeSentence,
    FreeSentences,
    Question,
    Teller,
)
from cslm.village.size import VillageSize
from cslm.village.speech import Cast, Line, answer_line, asking_line
from cslm.village.texts import all_questions

MANIFESTS = ("train", "asr_test", "asr_unheard_voice", "tts_test", "dialogue_test")
"""Names of the manifests, without ``.jsonl``."""

_SHARE_CLAUSES_IN_TTS_TEST = 0.6
"""Of the free sentences in the test of the answer voice, those made of answer clauses."""
_SHARE_WORDS_IN_TRANSLATIONS = 0.4
"""Of the statements for translations, those of one to three words: a word is learnt there, and found in sentences."""


@dataclass
class FreeByUse:
    """Free sentences by their use."""

    clauses: list[FreeSentence]
    answer_voice: list[FreeSentence]
    question_voice: list[FreeSentence]
    short: list[FreeSentence]
    asr_test: list[FreeSentence]
    unheard_test: list[FreeSentence]
    tts_test: list[FreeSentence]
    statements: list[FreeSentence]

    @property
    def training(self) -> list[FreeSentence]:
        """All that training may see."""
        return self.clauses + self.answer_voice + self.question_voice


@dataclass
class Script:
    """Everything that is to be spoken: lines by manifest, and which question or sentence stands behind which line."""

    lines: dict[str, list[Line]] = field(default_factory=lambda: {name: [] for name in MANIFESTS})
    asked: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    answered: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    tested: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    free_asked: dict[str, list[str]] = field(default_factory=dict)
    free_answered: dict[str, list[str]] = field(default_factory=dict)
    core_asked: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    core_answered: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)
    core_tested: dict[str, list[tuple[Question, str]]] = field(default_factory=dict)

    def add(self, manifest: str, lines: list[Line]) -> None:
        """Put lines into a manifest, which may be one that only some sizes have."""
        self.lines.setdefault(manifest, []).extend(lines)


def draw_free(tellers: list[Teller], size: VillageSize, generator: np.random.Generator) -> FreeByUse:
    """Draw the free sentences, the tests' first; none is a question or an answer of a dialogue."""
    source = FreeSentences(tellers, generator)
    for teller in tellers:
        told = all_questions(teller.world.pairs, size)
        source.reserve([text for question in told for text in (teller.question(question), teller.answer(question))])
    half = size.num_tts_test // 2
    num_clauses = round(_SHARE_CLAUSES_IN_TTS_TEST * half)
    num_words = round(_SHARE_WORDS_IN_TRANSLATIONS * size.num_translated_statements)
    return FreeByUse(
        asr_test=list(source.mixed(size.num_asr_test // 2, True, IN_TESTS)),
        unheard_test=list(source.mixed(size.num_unheard_test // 2, True, IN_TESTS)),
        tts_test=[*source.clauses(num_clauses, IN_TESTS), *source.mixed(half - num_clauses, False, IN_TESTS)],
        clauses=list(source.clauses(size.num_clause_sentences, IN_TRAINING)),
        answer_voice=list(source.mixed(size.num_other_answer_voice_sentences, False, IN_TRAINING)),
        question_voice=list(source.mixed(size.num_question_voice_sentences, True, IN_TRAINING)),
        short=list(source.short(size.num_short_sentences)),
        statements=[*source.clauses(size.num_translated_statements - num_words, IN_TRAINING), *source.short(num_words)],
    )


def write_training(script: Script, teller: Teller, cast: Cast, free: FreeByUse, generator: np.random.Generator) -> None:
    """What training hears of one language: questions and answers of facts, and free sentences."""
    size, code = teller.size, teller.language.language
    lines: list[Line] = []
    script.asked[code], script.answered[code] = [], []
    for question in all_questions(teller.world.heard_pairs, size):
        line = _answer(len(script.answered[code]), "answer", question, teller, f"answer-{question.key}")
        script.answered[code].append((question, line.id))
        lines.append(line)
        for voice in generator.choice(cast.heard, size.voices_per_question, replace=False):
            number, group = len(script.asked[code]), f"question-{question.key}"
            line = _asked(number, "question", question, teller, str(voice), generator, group)
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


def write_tests(
    script: Script,
    teller: Teller,
    cast: Cast,
    free: FreeByUse,
    questions: list[Question],
    generator: np.random.Generator,
) -> None:
    """What the tests of one language hear."""
    size, code = teller.size, teller.language.language
    for name, kind, sentences, total, voices in (
        ("asr_test", "asr-test", free.asr_test, size.num_asr_test, cast.heard),
        ("asr_unheard_voice", "unheard-test", free.unheard_test, size.num_unheard_test, [cast.unheard]),
    ):
        spoken = _asking_lines(kind, sentences, teller, voices, generator)
        for question in _some(questions, total - len(sentences), generator):
            voice = str(generator.choice(voices))
            spoken.append(_asked(len(spoken), kind, question, teller, voice, generator))
        script.lines[name] += spoken
    spoken = _answer_lines("tts-test", free.tts_test, teller)
    for question in _some(questions, size.num_tts_test - len(spoken), generator):
        text, said = _opening(teller, question), teller.said(partial(_opening, question=question))
        spoken.append(answer_line(len(spoken), "tts-test", text, teller.language, said=said))
    script.lines["tts_test"] += spoken
    script.tested[code] = []
    for number, question in enumerate(questions):
        line = _asked(number, "dialogue-test", question, teller, str(generator.choice(cast.heard)), generator)
        script.tested[code].append((question, line.id))
        script.lines["dialogue_test"].append(line)


def _answer(number: int, kind: str, question: Question, teller: Teller, group: str | None = None) -> Line:
    """A question's answer, in the answer voice."""
    text, said = teller.answer(question), teller.said(lambda aloud: aloud.answer(question))
    return answer_line(number, kind, text, teller.language, group, said)


def _asked(
    number: int,
    kind: str,
    question: Question,
    teller: Teller,
    voice: str,
    generator: np.random.Generator,
    group: str | None = None,
) -> Line:
    """A question, in an asking voice."""
    text, said = teller.question(question), teller.said(lambda aloud: aloud.question(question))
    return asking_line(number, kind, text, teller.language, voice, teller.size.jitter, generator, group, said)


def _opening(teller: Teller, question: Question) -> str:
    """The first two clauses of an answer, or the one that it has."""
    clauses = teller.answer_clauses(question)[0][:2]
    return teller.language.finish(clauses, ["clause", "sentence"][-len(clauses) :])


def write_core(
    script: Script, teller: Teller, cast: Cast, tested: list[Question], generator: np.random.Generator
) -> None:
    """Questions about core people in a language whose documents do not tell of them: with answers, and for tests."""
    size, code = teller.size, teller.language.language
    script.core_asked[code], script.core_answered[code], script.core_tested[code] = [], [], []
    for question in all_questions(teller.world.core_pairs(tested=False), size):
        number, group = len(script.core_answered[code]), f"core-answer-{question.key}"
        answer = _answer(number, "core-answer", question, teller, group)
        script.core_answered[code].append((question, answer.id))
        script.add("train", [answer])
        for voice in generator.choice(cast.heard, size.voices_per_question, replace=False):
            number, group = len(script.core_asked[code]), f"core-question-{question.key}"
            line = _asked(number, "core-question", question, teller, str(voice), generator, group)
            script.core_asked[code].append((question, line.id))
            script.add("train", [line])
    for number, question in enumerate(tested):
        line = _asked(number, "core-test", question, teller, str(generator.choice(cast.heard)), generator)
        script.core_tested[code].append((question, line.id))
        script.add("core_test", [line])


def _answer_lines(kind: str, sentences: list[FreeSentence], teller: Teller) -> list[Line]:
    code = teller.language.language
    return [
        answer_line(
            number,
            kind,
            sentence.texts[code],
            teller.language,
            _group(kind, number, sentence),
            sentence.said.get(code),
        )
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
            sentence.said.get(code),
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
