"""Spoken questions with their spoken answers, from every language to every language."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from cslm.corpora.manifest import Utterance
from cslm.village.sentences import Question, Teller
from cslm.village.world import Pair

Record = dict[str, Any]


def fact_dialogues(
    tellers: list[Teller],
    asked: dict[str, list[tuple[Question, Utterance]]],
    answered: dict[str, dict[Question, Utterance]],
) -> Iterator[Record]:
    """Every rendering of every training question with its answer in every language."""
    for asks, answers in product(tellers, tellers):
        codes = (asks.language.language, answers.language.language)
        for number, (question, utterance) in enumerate(asked[codes[0]]):
            yield _dialogue(codes, "fact", number, utterance, answered[codes[1]][question])


def free_dialogues(
    tellers: list[Teller], asked: dict[str, list[Utterance]], answered: dict[str, list[Utterance]]
) -> Iterator[Record]:
    """Free sentences that are said back, in every language: any name and value is heard, written and spoken.

    Entry ``i`` of ``asked`` and of ``answered`` is the same sentence, in the voice of each.
    """
    for asks, answers in product(tellers, tellers):
        codes = (asks.language.language, answers.language.language)
        for number, (question, answer) in enumerate(zip(asked[codes[0]], answered[codes[1]], strict=True)):
            yield _dialogue(codes, "free", number, question, answer)


def test_questions(pairs: list[Pair], num_forms: int, count: int, generator: np.random.Generator) -> list[Question]:
    """Held-out questions: all of them, or ``count`` of them with every pair about equally often.

    Args:
        pairs: the held-out ones, in order.
        num_forms: question forms in use.
        count: how many; 0 for all.
        generator: decides which.
    """
    forms = [generator.permutation(num_forms).tolist() for _ in pairs]
    rounds = [[Question(pair, forms[i][turn]) for i, pair in enumerate(pairs)] for turn in range(num_forms)]
    shuffled = [question for one in rounds for question in (one[i] for i in generator.permutation(len(one)))]
    return shuffled[:count] if count else shuffled


def test_dialogues(tellers: list[Teller], asked: dict[str, list[tuple[Question, Utterance]]]) -> Iterator[Record]:
    """The test questions with the references and the words by which an answer is judged."""
    for asks, answers in product(tellers, tellers):
        codes = (asks.language.language, answers.language.language)
        for question, utterance in asked[codes[0]]:
            fact, wrong = facts_of_answer(answers, question)
            yield {
                "id": f"{utterance.id}-{codes[1]}",
                "direction": f"{codes[0]}-{codes[1]}",
                "question": utterance.id,
                "question_language": codes[0],
                "answer_language": codes[1],
                "question_reference": utterance.text,
                "answer_reference": answers.answer(question),
                "num_clauses": answers.language.question_forms[question.form].num_clauses,
                "fact": fact,
                "wrong_facts": wrong,
            }


def facts_of_answer(teller: Teller, question: Question) -> tuple[list[str], list[str]]:
    """The name and value that a right answer holds, and the other names and values, which it must not hold."""
    name = teller.names[question.pair[0]]
    value = teller.world.value(teller.language, question.pair)
    values = teller.tables[question.pair[1]].values
    return [name, value], [other for other in values + teller.names if other not in (name, value)]


def _dialogue(codes: tuple[str, str], kind: str, number: int, question: Utterance, answer: Utterance) -> Record:
    return {
        "id": f"{codes[0]}-{codes[1]}-{kind}-{number:06d}",
        "direction": f"{codes[0]}-{codes[1]}",
        "kind": kind,
        "question": question.id,
        "question_language": codes[0],
        "question_text": question.text,
        "answer": answer.id,
        "answer_language": codes[1],
        "answer_text": answer.text,
    }
