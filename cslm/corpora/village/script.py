"""What is to be spoken in the village: which sentences and questions, by whom, for which manifest."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cslm.corpora.village.sentences import (
    IN_TESTS,
    IN_TRAINING,
    FreeSentence,
    FreeSentences,
    Question,
    Teller,
)
from cslm.corpora.village.speech import Cast, Line, answer_line, asking_line
from cslm.corpora.village.tables import VillageSize
from cslm.corpora.village.texts import all_questions

MANIFESTS = ("train", "asr_test", "asr_unheard_voice", "tts_test", "dialogue_test")
"""Names of the manifests, without ``.jsonl``."""

_SHARE_CLAUSES_IN_TTS_TEST = 0.6
"""Of the free sentences in the test of the answer voice, those made of answer clauses."""


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


def draw_free(tellers: list[Teller], size: VillageSize, generator: np.random.Generator) -> FreeByUse:
    """Draw the free sentences, the tests' first; none is a question or an answer of a dialogue."""
    source = FreeSentences(tellers, generator)
    for teller in tellers:
        told = all_questions(teller.world.pairs, size)
        source.reserve([text for question in told for text in (teller.question(question), teller.answer(question))])
    half = size.num_tts_test // 2
    num_clauses = round(_SHARE_CLAUSES_IN_TTS_TEST * half)
    return FreeByUse(
        asr_test=list(source.mixed(size.num_asr_test // 2, True, IN_TESTS)),
        unheard_test=list(source.mixed(size.num_unheard_test // 2, True, IN_TESTS)),
        tts_test=[*source.clauses(num_clauses, IN_TESTS), *source.mixed(half - num_clauses, False, IN_TESTS)],
        clauses=list(source.clauses(size.num_clause_sentences, IN_TRAINING)),
        answer_voice=list(source.mixed(size.num_other_answer_voice_sentences, False, IN_TRAINING)),
        question_voice=list(source.mixed(size.num_question_voice_sentences, True, IN_TRAINING)),
        short=list(source.short(size.num_short_sentences)),
    )


def write_training(script: Script, teller: Teller, cast: Cast, free: FreeByUse, generator: np.random.Generator) -> None:
    """What training hears of one language: questions and answers of facts, and free sentences."""
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


def write_tests(
    script: Script,
    teller: Teller,
    cast: Cast,
    free: FreeByUse,
    questions: list[Question],
    generator: np.random.Generator,
) -> None:
    """What the tests of one language hear."""
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
