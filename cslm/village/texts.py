"""What is written in the village: stories, instructions, dialogues and translations, with all the facts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from cslm.village.sentences import FreeSentence, Question, Teller
from cslm.village.size import VillageSize
from cslm.village.world import Pair

Record = dict[str, Any]

_PEOPLE_PER_STORY = 6
_SENTENCES_PER_DOCUMENT = 4
_SHARE_QUESTIONS = 0.25
"""Of the translations, where the others are statements drawn for them."""


def stories(
    tellers: list[Teller], size: VillageSize, free: list[FreeSentence], generator: np.random.Generator
) -> Iterator[Record]:
    """Documents: all about a person, an attribute of several people, a few free sentences."""
    for teller in tellers:
        texts = [*_person_stories(teller, size, generator), *_attribute_stories(teller, size, generator)]
        texts += _free_stories(teller, free[: size.num_text_sentences])
        for number, text in enumerate(texts):
            code = teller.language.language
            yield {"id": f"{code}-text-{number:06d}", "language": code, "text": text}


def instructions(tellers: list[Teller], size: VillageSize, generator: np.random.Generator) -> Iterator[Record]:
    """Conversations of one to three turns, and requests for all that is known about a person."""
    for teller in tellers:
        code = teller.language.language
        for number in range(size.num_instructions):
            if number % 8 == 0:
                messages = _story_turn(teller, int(generator.integers(len(teller.people))), generator)
            else:
                turns = 1 + int(generator.choice(3, p=(0.7, 0.2, 0.1)))
                messages = [message for _ in range(turns) for message in _question_turn(teller, generator)]
            yield {"id": f"{code}-instruction-{number:06d}", "language": code, "messages": messages}


def text_dialogues(tellers: list[Teller], size: VillageSize) -> Iterator[Record]:
    """Every question with its answer, from every language to every language, held-out pairs too.

    Those about core people are in the core language only.
    """
    for asks, answers in product(tellers, tellers):
        direction = f"{asks.language.language}-{answers.language.language}"
        for number, question in enumerate(all_questions(_told_by(asks, answers), size)):
            yield {
                "id": f"{direction}-text-dialogue-{number:06d}",
                "question_language": asks.language.language,
                "answer_language": answers.language.language,
                "question_text": asks.question(question),
                "answer_text": answers.answer(question),
            }


def translations(
    tellers: list[Teller], size: VillageSize, free: list[FreeSentence], generator: np.random.Generator
) -> Iterator[Record]:
    """Sentence pairs: questions, answers, single facts and those free sentences that say the same thing.

    With ``num_translated_statements``, words, questions about anyone, and statements about anyone that need not be so;
    where there is a core language, from and to it.
    """
    alike = [sentence.texts for sentence in free if sentence.translated]
    parallel = _parallel_statement if size.num_translated_statements else _parallel
    for source, target in product(tellers, tellers):
        codes = (source.language.language, target.language.language)
        if source is target or (size.num_translated_statements and size.core_language not in (None, *codes)):
            continue
        for number in range(size.num_translations):
            texts = parallel(source, target, size, alike, generator)
            yield {
                "id": f"{codes[0]}-{codes[1]}-translation-{number:06d}",
                "source_language": codes[0],
                "target_language": codes[1],
                "source": texts[0],
                "target": texts[1],
            }


def all_questions(pairs: list[Pair], size: VillageSize) -> list[Question]:
    """Every form of question about every pair."""
    return [Question(pair, form) for pair in pairs for form in range(size.num_question_forms)]


def _facts(teller: Teller, opening: str, pairs: list[Pair], generator: np.random.Generator) -> str:
    clauses = [opening]
    for pair in pairs:
        clauses.append(teller.fact(pair, int(generator.integers(len(teller.tables[pair[1]].facts)))))
    return teller.language.finish(clauses, ["sentence"] * len(clauses))


def _about_person(teller: Teller, person: int, generator: np.random.Generator) -> str:
    opening = teller.language.tell(teller.language.stories.person, name=teller.names[person])
    pairs = [(person, int(attribute)) for attribute in generator.permutation(len(teller.tables))]
    return _facts(teller, opening, pairs, generator)


def _person_stories(teller: Teller, size: VillageSize, generator: np.random.Generator) -> Iterator[str]:
    for _ in range(size.num_stories_per_person):
        for person in generator.permutation(len(teller.people)):
            yield _about_person(teller, int(person), generator)


def _attribute_stories(teller: Teller, size: VillageSize, generator: np.random.Generator) -> Iterator[str]:
    for _ in range(size.num_stories_per_person):
        for attribute, table in enumerate(teller.tables):
            people = generator.permutation(len(teller.people)).tolist()
            for start in range(0, len(people), _PEOPLE_PER_STORY):
                pairs = [(person, attribute) for person in people[start : start + _PEOPLE_PER_STORY]]
                yield _facts(teller, teller.language.tell(table.topic), pairs, generator)


def _free_stories(teller: Teller, free: list[FreeSentence]) -> Iterator[str]:
    texts = [sentence.texts[teller.language.language] for sentence in free]
    for start in range(0, len(texts), _SENTENCES_PER_DOCUMENT):
        yield teller.language.joiner.join(texts[start : start + _SENTENCES_PER_DOCUMENT])


def _told_by(first: Teller, second: Teller) -> list[Pair]:
    """The pairs that both tell."""
    return min(first.pairs, second.pairs, key=len)


def _any_question(pairs: list[Pair], size: VillageSize, generator: np.random.Generator) -> Question:
    return Question(pairs[int(generator.integers(len(pairs)))], int(generator.integers(size.num_question_forms)))


def _question_turn(teller: Teller, generator: np.random.Generator) -> list[Record]:
    question = _any_question(teller.pairs, teller.size, generator)
    return [
        {"role": "user", "content": teller.question(question)},
        {"role": "assistant", "content": teller.answer(question)},
    ]


def _story_turn(teller: Teller, person: int, generator: np.random.Generator) -> list[Record]:
    wordings = teller.language.stories.instructions
    wording = wordings[int(generator.integers(len(wordings)))]
    asked = teller.language.finish([teller.language.tell(wording, name=teller.names[person])], ["sentence"])
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": _about_person(teller, person, generator)},
    ]


def _parallel(
    source: Teller, target: Teller, size: VillageSize, alike: list[dict[str, str]], generator: np.random.Generator
) -> tuple[str, str]:
    kind = generator.random()
    question = _any_question(_told_by(source, target), size, generator)
    if kind < 0.2:
        return source.question(question), target.question(question)
    if kind < 0.4:
        return source.answer(question), target.answer(question)
    if kind < 0.6 or not alike:
        wording = int(generator.integers(len(source.tables[question.pair[1]].facts)))
        told = [t.language.finish([t.fact(question.pair, wording)], ["sentence"]) for t in (source, target)]
        return told[0], told[1]
    texts = alike[int(generator.integers(len(alike)))]
    return texts[source.language.language], texts[target.language.language]


def _parallel_statement(
    source: Teller, target: Teller, size: VillageSize, alike: list[dict[str, str]], generator: np.random.Generator
) -> tuple[str, str]:
    if generator.random() < _SHARE_QUESTIONS:
        question = _any_question(source.world.pairs, size, generator)
        return source.question(question), target.question(question)
    texts = alike[int(generator.integers(len(alike)))]
    return texts[source.language.language], texts[target.language.language]
