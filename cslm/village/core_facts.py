"""Facts that only the core language's documents tell, asked in the other languages: chains of four texts, and a test.

A chain is what XS-CoT learns: the spoken question in language n, its text, its translation into the core language, the
answer in the core language, and the answer in n. Chains are about core people that are no test, whose facts no other
document in n tells, about the people whose facts all languages tell, and of free sentences that are said back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cslm.corpora.manifest import Utterance
from cslm.village.dialogues import facts_of_answer
from cslm.village.sentences import FreeSentence, Question, Teller

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


def said_back_chains(
    core: Teller,
    tellers: list[Teller],
    sentences: list[FreeSentence],
    asked: dict[str, list[Utterance]],
    answered: dict[str, list[Utterance]],
) -> Iterator[Record]:
    """Free sentences that are said back, through the core language: any name and value, which no memory of facts tells.

    Entry ``i`` of ``asked`` and of ``answered`` is sentence ``i`` in every language.
    """
    for teller in tellers:
        code = teller.language.language
        if teller is core:
            continue
        for number, (question, answer) in enumerate(zip(asked[code], answered[code], strict=True)):
            text, core_text = (sentences[number].texts[one.language.language] for one in (teller, core))
            yield {
                "id": f"{code}-chain-free-{number:06d}",
                "kind": "free",
                "question": question.id,
                "answer": answer.id,
                **_as_chain(core, code, (text, core_text, core_text, text)),
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
    texts = teller.question(question), core.question(question), core.answer(question), teller.answer(question)
    return _as_chain(core, teller.language.language, texts)


def _as_chain(core: Teller, code: str, texts: tuple[str, str, str, str]) -> Record:
    return {
        "question_language": code,
        "question_text": texts[0],
        "core_language": core.language.language,
        "core_question": texts[1],
        "core_answer": texts[2],
        "answer_language": code,
        "answer_text": texts[3],
    }
