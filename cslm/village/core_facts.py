"""Facts that only the core language's documents tell, asked in the other languages: chains of four texts, and a test.

A chain is what XS-CoT learns: the spoken question in language n, its text, its translation into the core language, the
answer in the core language, and the answer in n. Chains are about core people that are no test, whose facts no other
document in n tells, and about the people whose facts all languages tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cslm.corpora.manifest import Utterance
from cslm.village.dialogues import facts_of_answer
from cslm.village.sentences import Question, Teller

Record = dict[str, Any]
Asked = dict[str, list[tuple[Question, Utterance]]]
Answered = dict[str, dict[Question, Utterance]]


def core_chains(core: Teller, tellers: list[Teller], kind: str, asked: Asked, answered: Answered) -> Iterator[Record]:
    """Every rendering of every question that is no test, in every language but the core one, with its chain.

    Args:
        core: the core language's.
        tellers: all languages'.
        kind: whom the questions are about: ``core`` people, or ``shared`` ones.
        asked: questions with their utterances, by language.
        answered: spoken answers, by language.
    """
    for teller in tellers:
        code = teller.language.language
        if teller is core:
            continue
        for number, (question, utterance) in enumerate(asked[code]):
            answer = answered[code][question]
            yield {
                "id": f"{code}-chain-{kind}-{number:06d}",
                "kind": kind,
                "question": utterance.id,
                "answer": answer.id,
                **_four_texts(core, teller, question),
            }


def core_tests(core: Teller, tellers: list[Teller], asked: Asked) -> Iterator[Record]:
    """The test questions about core people: as in ``test_dialogues``, with the four texts of the right chain.

    ``core_fact`` and ``core_wrong_facts`` judge an answer in the core language. ``about`` names person and attribute:
    questions that share them are not independent of each other.
    """
    for teller in tellers:
        code = teller.language.language
        for question, utterance in asked.get(code, []):
            fact, wrong = facts_of_answer(teller, question)
            core_fact, core_wrong = facts_of_answer(core, question)
            texts = _four_texts(core, teller, question)
            yield {
                "id": f"{utterance.id}-{code}",
                "direction": f"{code}-{code}",
                "question": utterance.id,
                **texts,
                "question_reference": texts["question_text"],
                "answer_reference": texts["answer_text"],
                "fact": fact,
                "wrong_facts": wrong,
                "core_fact": core_fact,
                "core_wrong_facts": core_wrong,
                "about": _about(core, question),
            }


def _about(core: Teller, question: Question) -> str:
    """Whom and what is asked about, in the core language's words: the same for every form of the question."""
    person, attribute = question.pair
    return f"{core.names[person]}, {core.world.attributes[attribute]}"


def _four_texts(core: Teller, teller: Teller, question: Question) -> Record:
    code = teller.language.language
    return {
        "question_language": code,
        "question_text": teller.question(question),
        "core_language": core.language.language,
        "core_question": core.question(question),
        "core_answer": core.answer(question),
        "answer_language": code,
        "answer_text": teller.answer(question),
    }
