"""What is said in the village: questions, answers and free sentences, planned once and told in every language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cslm.village.language import SLOT, Language, Pattern
from cslm.village.size import VillageSize
from cslm.village.world import Mentions, Pair, World

_SHARE_QUESTION_LIKE = 0.4
"""Of the free sentences in the asking voices."""
_CLAUSES_PER_SENTENCE = (0.5, 0.4, 0.1)
"""Shares of one, two and three clauses among the free sentences made of answer clauses."""


@dataclass(frozen=True)
class Drill:
    """How much of what is said is no sense at all, so that it must be heard and read word by word."""

    random_order: float
    """share of the village's words in any order among sentences that are no questions and no answer clauses"""
    longest_random_order: int
    """most words in a row; the fewest are two"""
    any_value: float
    """share of answer clauses with the value of any attribute: nobody plays a banana"""


IN_TRAINING = Drill(random_order=0.75, longest_random_order=12, any_value=0.5)
IN_TESTS = Drill(random_order=0.35, longest_random_order=8, any_value=0.0)


@dataclass(frozen=True)
class Question:
    """A question about one pair, to be told in any language."""

    pair: Pair
    form: int

    @property
    def key(self) -> str:
        """The same for the same question in all languages."""
        return f"{self.pair[0]:02d}-{self.pair[1]}-{self.form}"


@dataclass(frozen=True)
class FreeSentence:
    """A sentence in every language: ``texts[language]``."""

    texts: dict[str, str]
    translated: bool
    """Whether the texts say the same thing."""
    said: dict[str, str]
    """``said[language]``: what the synthesizer is given, where that is not the text."""


class Teller:
    """Puts plans into the words of one language."""

    def __init__(self, language: Language, size: VillageSize, world: World) -> None:
        self.language, self.size, self.world = language, size, world
        told_here = world.num_people if language.language == size.core_language else world.num_shared_people
        self.people = range(told_here)
        self.pairs = [pair for pair in world.pairs if pair[0] < told_here]
        said = language.said()
        self._aloud = None if said is language else Teller(said, size, world)
        self.mentions = Mentions(language, world)
        self.names = language.names[: world.num_people]
        self.tables = [language.attributes[name] for name in world.attributes]
        self.values = [value for table in self.tables for value in table.values]

    def said(self, plan: Plan) -> str | None:
        """What the synthesizer is given for a plan, where that is not its text."""
        return None if self._aloud is None else plan(self._aloud)

    def may_not_say(self, text: str) -> bool:
        """Whether a text joins what is held out, or what only the core language's documents tell."""
        return self.mentions.join_held_out(text) or self.mentions.tell_core(text)

    def phrase(self, pair: Pair) -> str:
        """The indirect question about a pair."""
        return self.language.tell(self.tables[pair[1]].phrase, name=self.names[pair[0]])

    def question(self, question: Question) -> str:
        """A question as text."""
        form = self.language.question_forms[question.form]
        return self.language.finish([self.language.tell(form.text, phrase=self.phrase(question.pair))], [form.end])

    def fact(self, pair: Pair, wording: int, value: str | None = None) -> str:
        """A clause that states a pair's value, or ``value`` in its place."""
        told = self.world.value(self.language, pair) if value is None else value
        return self.language.tell(self.tables[pair[1]].facts[wording], name=self.names[pair[0]], value=told)

    def answer_clauses(self, question: Question) -> tuple[list[str], list[str]]:
        """Clauses of the answer and their ends. The question alone decides them, so that they can be learnt."""
        form = self.language.answer_forms[(question.form + question.pair[1]) % self.size.num_answer_forms]
        fact = self.fact(question.pair, form.fact)
        length = self.size.num_answer_clauses or self.language.question_forms[question.form].num_clauses
        if length == 1:
            return [fact], ["sentence"]
        opening = [form.lead, fact] if form.lead is not None else [fact, form.tail]
        rest = {2: [], 3: [form.closing], 4: form.middle, 5: [*form.middle, form.closing]}[length]
        clauses = [self.language.tell(clause) if clause != fact else fact for clause in (*opening, *rest) if clause]
        ends = ["clause" if index % 2 == 0 and index + 1 < length else "sentence" for index in range(length)]
        return clauses, ends

    def answer(self, question: Question) -> str:
        """The answer as text."""
        return self.language.finish(*self.answer_clauses(question))

    def random_words(self, generator: np.random.Generator, longest: int) -> list[str]:
        """Two or more of the village's words, two of three a name or a value."""
        words = []
        for _ in range(int(generator.integers(2, longest + 1))):
            kind = generator.random()
            pool = self.names if kind < 0.33 else self.values if kind < 0.67 else self.language.words
            words.append(pool[int(generator.integers(len(pool)))])
        return words

    def random_order(self, words: list[str]) -> str:
        """Words in any order as text. No sentence: no capital letter."""
        return self.language.join(words) + self.language.punctuation["sentence"]


Plan = Callable[[Teller], str]
"""Puts what is to be said into the words of a language. The same plan gives the same text each time."""


class FreeSentences:
    """An endless stream of free sentences that are new in every language and join no held-out pair in any."""

    def __init__(self, tellers: list[Teller], generator: np.random.Generator) -> None:
        self._tellers, self._generator = tellers, generator
        self._world, self._first = tellers[0].world, tellers[0]
        self._asked_pairs = self._world.heard_pairs + self._world.core_pairs(False) + self._world.core_pairs(True)
        self._seen: set[str] = set()

    def reserve(self, texts: list[str]) -> None:
        """Never say these."""
        self._seen.update(texts)

    def clauses(self, count: int, drill: Drill) -> Iterator[FreeSentence]:
        """Sentences made of an answer's clauses, with any name and value."""
        return self._take(count, lambda: self._plan_clauses(drill))

    def mixed(self, count: int, question_like: bool, drill: Drill) -> Iterator[FreeSentence]:
        """Patterns and random orders, and with ``question_like`` sentences that sound like questions."""
        for _ in range(count):
            kind = self._generator.random()
            if question_like and kind < _SHARE_QUESTION_LIKE:
                yield from self._take(1, self._plan_question)
            elif self._generator.random() < drill.random_order:
                yield self._draw_random_order(drill)
            else:
                yield from self._take(1, self._plan_pattern)

    def short(self, count: int) -> Iterator[FreeSentence]:
        """One to three words each, from which hearing starts; the same one may come again."""
        for _ in range(count):
            yield self._draw(lambda: (self._plan_pattern("short_patterns"), True), again=True)

    def _take(self, count: int, planner: Callable[[], Plan]) -> Iterator[FreeSentence]:
        for _ in range(count):
            yield self._draw(lambda: (planner(), True))

    def _draw_random_order(self, drill: Drill) -> FreeSentence:
        def propose() -> tuple[Plan, bool]:
            words: dict[str, list[str]] = {}

            def told(teller: Teller) -> str:
                code = teller.language.language
                if code not in words:
                    words[code] = teller.random_words(self._generator, drill.longest_random_order)
                return teller.random_order(words[code])

            return told, False

        return self._draw(propose)

    def _draw(self, propose: Callable[[], tuple[Plan, bool]], again: bool = False) -> FreeSentence:
        for _ in range(10_000):
            plan, translated = propose()
            texts = {teller.language.language: plan(teller) for teller in self._tellers}
            fresh = self._seen.isdisjoint(texts.values()) and len(set(texts.values())) == len(texts)
            if (fresh or again) and not any(t.may_not_say(texts[t.language.language]) for t in self._tellers):
                self._seen.update(texts.values())
                said = {teller.language.language: teller.said(plan) for teller in self._tellers}
                return FreeSentence(texts, translated, {code: text for code, text in said.items() if text is not None})
        raise AssertionError("the village has too few different sentences for its size")

    def _any(self, count: int) -> int:
        return int(self._generator.integers(count))

    def _any_pair(self, pairs: list[Pair]) -> Pair:
        return pairs[self._any(len(pairs))]

    def _plan_clauses(self, drill: Drill) -> Plan:
        bare = self._first.size.bare_clauses
        count = 1 if bare else 1 + int(self._generator.choice(3, p=_CLAUSES_PER_SENTENCE))
        parts = [self._plan_fact(drill) if bare else self._plan_clause(drill) for _ in range(count)]
        ends = ["clause" if index % 2 == 0 and index + 1 < count else "sentence" for index in range(count)]
        return lambda teller: teller.language.finish([part(teller) for part in parts], ends)

    def _plan_clause(self, drill: Drill) -> Plan:
        if self._generator.random() < 0.75:
            return self._plan_fact(drill)
        form, part = self._any(self._first.size.num_answer_forms), self._any(4)
        return lambda teller: teller.language.tell(_filler(teller.language, form, part))

    def _plan_fact(self, drill: Drill) -> Plan:
        pair, wording = self._any_pair(self._asked_pairs), self._any(len(self._first.tables[0].facts))
        attribute = pair[1] if self._generator.random() >= drill.any_value else self._any(len(self._first.tables))
        value = self._any(len(self._first.tables[attribute].values))
        return lambda teller: teller.fact(pair, wording, teller.tables[attribute].values[value])

    def _plan_question(self) -> Plan:
        pairs = (self._any_pair(self._asked_pairs), self._any_pair(self._asked_pairs))
        name, kind = self._any(self._world.num_people), self._generator.random()
        if kind < 0.5:
            form = self._any(len(self._first.language.question_forms))
            return lambda teller: teller.question(Question(pairs[0], form))
        index = self._any(len(self._first.language.question_patterns))

        def told(teller: Teller) -> str:
            pattern = teller.language.question_patterns[index]
            slots = {"phrase1": teller.phrase(pairs[0]), "phrase2": teller.phrase(pairs[1])}
            text = teller.language.tell(pattern.text, name1=teller.names[name], **slots)
            return teller.language.finish([text], [pattern.end])

        return told

    def _plan_pattern(self, source: str = "patterns") -> Plan:
        first: list[Pattern] = getattr(self._first.language, source)
        index = self._any(len(first))
        slots = [(match["slot"], match["kind"]) for match in SLOT.finditer(first[index].text)]
        if any(kind not in ("name", "value", *self._world.attributes) for _, kind in slots):
            return self._plan_pattern(source)
        people = iter(self._generator.permutation(self._world.num_people).tolist())
        values = iter(self._generator.permutation(len(self._first.values)).tolist())
        chosen: dict[str, tuple[str, int]] = {}
        for slot, kind in slots:
            if kind in ("name", "value"):
                chosen[slot] = (kind, next(people if kind == "name" else values))
            else:
                table = self._first.tables[self._world.attributes.index(kind)]
                taken = {value for other, value in chosen.values() if other == kind}
                left = [value for value in range(len(table.values)) if value not in taken]
                chosen[slot] = (kind, left[self._any(len(left))])

        def told(teller: Teller) -> str:
            pattern = getattr(teller.language, source)[index]
            words = {slot: _word(teller, kind, number) for slot, (kind, number) in chosen.items()}
            return teller.language.finish([teller.language.tell(pattern.text, **words)], [pattern.end])

        return told


def _word(teller: Teller, kind: str, index: int) -> str:
    if kind == "name":
        return teller.names[index]
    return teller.values[index] if kind == "value" else teller.language.attributes[kind].values[index]


def _filler(language: Language, form: int, part: int) -> str:
    answer = language.answer_forms[form]
    opening = answer.lead if answer.lead is not None else answer.tail
    assert opening is not None
    return (opening, *answer.middle, answer.closing)[part]
