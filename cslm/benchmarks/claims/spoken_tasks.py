"""What can be asked about a sentence of the village, with the right answer: tasks over transcripts (MTBI), as a table.

A statement has one name and one value: ``the pet that Sophie keeps is a lizard``. Whatever is asked about it, tables
and facts give the answer, in every language. Only statements about people of whom all languages tell are asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.sequences.task_pool import Prompt, TaskPool
from cslm.village.sentences import Question, Teller

Record = dict[str, Any]
BARE_SHARE = 0.1
"""Of the written documents, those in which nothing is asked: the reply goes on, as a continuation."""


@dataclass(frozen=True)
class Statement:
    """A fact about a person, true or not, to be told in any language."""

    person: int
    attribute: int
    """whose wording is taken"""
    wording: int
    value: tuple[int, int]
    """attribute and place among its values: nobody plays a banana, but it can be said"""

    def told(self, teller: Teller) -> str:
        """The sentence in the words of a language."""
        clause = teller.fact((self.person, self.attribute), self.wording, self.thing(teller))
        return teller.language.finish([clause], ["sentence"])

    def thing(self, teller: Teller) -> str:
        """The word for its value."""
        return teller.tables[self.value[0]].values[self.value[1]]


Answer = Callable[[Teller, Statement, Teller], str]
"""The right answer in the language of the first teller; the second tells in the language that is translated into."""


def _continuation(teller: Teller, said: Statement, into: Teller) -> str:
    """The same of the next person: it hangs on all that was said, as a task whose arm is a baseline must."""
    return replace(said, person=(said.person + 1) % teller.world.num_shared_people).told(teller)


def _rewriting(teller: Teller, said: Statement, into: Teller) -> str:
    other = (said.wording + 1) % len(teller.tables[said.attribute].facts)
    return Statement(said.person, said.attribute, other, said.value).told(teller)


def _pair(teller: Teller, first: str, second: str) -> str:
    language = teller.language
    return language.finish([f"{first}{language.punctuation['list']}{language.joiner}{second}"], ["sentence"])


def _sentence(teller: Teller, clause: str) -> str:
    return teller.language.finish([clause], ["sentence"])


def _topic(teller: Teller, said: Statement) -> str:
    return teller.tables[said.attribute].signs[0]


def _name(teller: Teller, said: Statement) -> str:
    return teller.names[said.person]


# Task of a pool -> its right answer.
ANSWERS: dict[str, Answer] = {
    "continuation": _continuation,
    "repetition": lambda teller, said, into: said.told(teller),
    "person": lambda teller, said, into: _sentence(teller, _name(teller, said)),
    "thing": lambda teller, said, into: _sentence(teller, said.thing(teller)),
    "topic": lambda teller, said, into: _sentence(teller, _topic(teller, said)),
    "summary": lambda teller, said, into: _pair(teller, _name(teller, said), said.thing(teller)),
    "rewriting": _rewriting,
    "translation": lambda teller, said, into: said.told(into),
    "keywords": lambda teller, said, into: _pair(teller, said.thing(teller), _name(teller, said)),
    "title": lambda teller, said, into: _pair(teller, _topic(teller, said), _name(teller, said)),
    "question": lambda teller, said, into: teller.question(Question((said.person, said.attribute), 0)),
    "thing_abroad": lambda teller, said, into: _sentence(into, said.thing(into)),
}


class SpokenTasks:
    """The statements of a village, found by their text, and what is right to answer to each."""

    def __init__(self, tellers: Iterable[Teller], pool: TaskPool) -> None:
        """Know every statement about people of whom all languages tell.

        Raises:
            UserError: the pool has a task that nobody knows the right answer of.
        """
        unknown = [task for task in pool.tasks if task not in ANSWERS]
        if unknown:
            raise UserError(f"the village has no right answer to {', '.join(unknown)}: it knows {', '.join(ANSWERS)}")
        self.pool = pool
        self._tellers = {teller.language.language: teller for teller in tellers}
        self._statements = list(_statements(next(iter(self._tellers.values()))))
        self._known = {
            code: {statement.told(teller): statement for statement in self._statements}
            for code, teller in self._tellers.items()
        }

    def read(self, text: str, language: str) -> Statement | None:
        """The statement that a text makes; None where it makes none that can be asked about."""
        return self._known[language].get(text)

    def answer(self, said: Statement, language: str, prompt: Prompt) -> str:
        """What is right to answer to a statement in a language under a prompt of the pool."""
        teller = self._tellers[language]
        return ANSWERS[prompt.task](teller, said, self._tellers[prompt.target or language])

    def can_be_asked(self, utterance: Utterance) -> bool:
        """Whether an utterance is a statement that all languages make (of a group)."""
        return utterance.group is not None and self.read(utterance.text, utterance.language) is not None

    def references(self, utterances: Iterable[Utterance]) -> Iterator[Record]:
        """Right answers as ``scores.imitation.references`` reads them: id, task, answer, target_language."""
        for utterance in utterances:
            said = self.read(utterance.text, utterance.language)
            assert said is not None, f"{utterance.id} is no statement"
            for prompt in self._one_prompt_each(utterance.language):
                answer = self.answer(said, utterance.language, prompt)
                into = {} if prompt.target is None else {"target_language": prompt.target}
                yield {"id": utterance.id, "task": prompt.task, "answer": answer, **into}

    def leads_to(self, utterance: Utterance, texts: Container[str]) -> bool:
        """Whether a right answer to a statement, under any task, is one of some texts."""
        said, code = self.read(utterance.text, utterance.language), utterance.language
        assert said is not None, f"{utterance.id} is no statement"
        return any(self.answer(said, code, prompt) in texts for prompt in self._one_prompt_each(code))

    def documents(self, count: int, never: set[str], generator: np.random.Generator) -> Iterator[Record]:
        """Conversations in text that teach every task in every wording, held out from speech or not.

        Args:
            count: how many.
            never: texts that stand in none of them, asked about or answered: those of the tests.
            generator: decides everything.
        """
        codes, tasks = list(self._tellers), list(self.pool.tasks)
        number = 0
        while number < count:
            said = self._statements[int(generator.integers(len(self._statements)))]
            code = codes[int(generator.integers(len(codes)))]
            text = said.told(self._tellers[code])
            if text in never:
                continue
            is_bare = generator.random() < BARE_SHARE
            prompt = self._any_prompt(tasks, code, generator)
            before, after = ("", "") if is_bare else self.pool.asked(prompt, code)
            answer = self.answer(said, code, Prompt("continuation", 0) if is_bare else prompt)
            if answer in never:
                continue
            messages = [
                {"role": "user", "content": f"{before}{text}{after}"}, {"role": "assistant", "content": answer},
            ]  # fmt: skip
            yield {"id": f"task-{number:06d}", "language": code, "messages": messages}
            number += 1

    def _one_prompt_each(self, language: str) -> Iterator[Prompt]:
        """A prompt of every task, and of every language that it leads into."""
        for task in self.pool.tasks:
            yield from {it.target: it for it in self.pool.prompts(task, language)}.values()

    def _any_prompt(self, tasks: list[str], language: str, generator: np.random.Generator) -> Prompt:
        task = tasks[int(generator.integers(len(tasks)))]
        prompts = self.pool.prompts(task, language) + self.pool.prompts(task, language, unseen=True)
        return prompts[int(generator.integers(len(prompts)))]


def _statements(teller: Teller) -> Iterator[Statement]:
    for person in range(teller.world.num_shared_people):
        for attribute, table in enumerate(teller.tables):
            for wording in range(len(table.facts)):
                for kind, other in enumerate(teller.tables):
                    for place in range(len(other.values)):
                        yield Statement(person, attribute, wording, (kind, place))
