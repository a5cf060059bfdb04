"""The tables of one language, and how its words become text."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

SLOT = re.compile(r"\{(?P<slot>(?P<kind>[a-z]+)\d*)(?::(?P<article>\w+))?\}")
"""A place in a template for a word: ``{name1}``, ``{value}``, or ``{pet:un}`` with an article before it."""
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def kinds_of_slots(template: str) -> set[str]:
    """What a template has places for: name, value, phrase, or an attribute."""
    return {match["kind"] for match in SLOT.finditer(template)}


@dataclass
class Voice:
    """A voice of the synthesizer."""

    voice: str
    """Its file, with a variant or none."""
    rate_wpm: int
    """Words per minute."""
    pitch: int
    """0 to 99; 50 is the voice's own."""


@dataclass
class VoicePool:
    """Voices from which a seed draws."""

    rate_wpm: int
    """Words per minute, before the jitter."""
    pitch: int
    """0 to 99, before the jitter."""
    accents: list[str]
    """Voice files."""
    variants: list[str]
    """Variants of the synthesizer, each possible with every accent."""


@dataclass
class Attribute:
    """Something that every person has one of."""

    values: list[str]
    """What it can be."""
    phrase: str
    """An indirect question for it, with the slot {name}."""
    facts: list[str]
    """Wordings of the fact, with the slots {name} and {value}."""
    signs: list[str]
    """Words that point at the attribute."""
    topic: str
    """How a story about it begins."""
    genders: list[str] = field(default_factory=list)
    """Gender of each value (or number, or both), as the keys in ``articles``; none where no article depends on it."""


@dataclass
class QuestionForm:
    """A way to ask."""

    text: str
    """With the slot {phrase}."""
    end: str
    """Punctuation: sentence or question."""
    num_clauses: int
    """Clauses of the answer, 2 to 5."""


@dataclass
class AnswerForm:
    """A way to answer."""

    fact: int
    """Which wording of the fact."""
    middle: list[str]
    """Two clauses that may follow."""
    closing: str
    """A clause that may stand last."""
    lead: str | None = None
    """A clause before the fact."""
    tail: str | None = None
    """A clause behind the fact, where none is before it."""


@dataclass
class ContentFirst:
    """Questions that begin with the name, and facts that begin with the value: what a compressed chain keeps."""

    question_forms: list[QuestionForm]
    """Ways to ask; the slot {phrase} stands first."""
    phrases: dict[str, str]
    """By attribute, what is asked; the slot {name} stands first."""
    facts: dict[str, str] = field(default_factory=dict)
    """By attribute, a first wording of the fact in which the slot {value} stands first."""


@dataclass
class Pattern:
    """A free sentence."""

    text: str
    """With slots {name1}, {value1}, {phrase1}, or an attribute's name."""
    end: str = "sentence"
    """Punctuation: sentence or question."""


@dataclass
class Stories:
    """Wordings of written documents about one person."""

    person: str
    """The opening, with the slot {name}."""
    instructions: list[str]
    """Ways to ask for one, with the slot {name}."""


@dataclass
class Plot:
    """What happens in an aligned story, sentence by sentence. Slots as in patterns; all of one attribute."""

    opening: str
    """The first sentence: names who and what the story is about."""
    middles: list[str]
    """Three sentences of which a shorter story leaves some out."""
    endings: list[str]
    """Ways to end it."""

    @property
    def texts(self) -> list[str]:
        """All of it."""
        return [self.opening, *self.middles, *self.endings]

    @property
    def kinds(self) -> set[str]:
        """What it has slots for."""
        return set().union(*map(kinds_of_slots, self.texts))


@dataclass
class Aloud:
    """How words are handed to the synthesizer, where that is not how they are written."""

    joiner: str = " "
    """What stands between words: espeak-ng takes kana without spaces for one long word."""
    spelling: dict[str, str] = field(default_factory=dict)
    """Words that are said as others of the same length: the Japanese particle \u306f as \u308f."""


@dataclass
class Language:
    """All the tables of one language."""

    language: str
    """BCP 47."""
    joiner: str
    """What stands between words."""
    capitals: bool
    """Whether sentences begin with a capital letter."""
    punctuation: dict[str, str]
    """Marks for the end of a clause, a sentence, a question, and for lists."""
    answer_voice: Voice
    """The one voice that answers."""
    question_voices: VoicePool
    """Those that ask."""
    names: list[str]
    """People."""
    attributes: dict[str, Attribute]
    """By name."""
    question_forms: list[QuestionForm]
    """Ways to ask."""
    answer_forms: list[AnswerForm]
    """Ways to answer."""
    patterns: list[Pattern]
    """Free sentences with names and values."""
    short_patterns: list[Pattern]
    """Free sentences of one to three words."""
    question_patterns: list[Pattern]
    """Free sentences with indirect questions."""
    stories: Stories
    """Wordings of written documents."""
    articles: dict[str, dict[str, str]] = field(default_factory=dict)
    """For slots such as {pet:un}: an article's word before each gender of value."""
    contractions: dict[str, str] = field(default_factory=dict)
    """Regular expressions for what is written together, with what to write instead: elided and contracted articles."""
    aloud: Aloud | None = None
    """How words are handed to the synthesizer, where that is not how they are written."""
    tales: dict[str, list[Plot]] = field(default_factory=dict)
    """Aligned stories: the plots of each topic. They run parallel in all languages, as all lists do."""
    content_first: ContentFirst | None = None
    """Other wordings, for sizes that ask for them."""
    words: list[str] = field(default_factory=list)
    """Words of what is said, without names and values, each as often as it stands there; filled in by the reader."""

    def __post_init__(self) -> None:
        """Know the gender of every value."""
        tables = [table for table in self.attributes.values() if table.genders]
        self._genders = {word: key for table in tables for word, key in zip(table.values, table.genders, strict=False)}

    def tell(self, template: str, **slots: str) -> str:
        """A template with its slots filled in, and this language's way to write words."""
        told = self.join(SLOT.sub(lambda match: self._filled(match, slots), template).split(" "))
        for pattern, instead in self.contractions.items():
            told = re.sub(pattern, instead, told)
        return told

    def join(self, words: list[str]) -> str:
        """Words as text, without punctuation of its own."""
        return self.joiner.join(words)

    def finish(self, clauses: list[str], ends: list[str]) -> str:
        """Clauses with their punctuation as text; ``ends`` are keys of ``punctuation``, one for each clause."""
        text, fresh = "", True
        for clause, end in zip(clauses, ends, strict=True):
            shown = clause[:1].upper() + clause[1:] if fresh and self.capitals else clause
            text += (self.joiner if text else "") + shown + self.punctuation[end]
            fresh = end != "clause"
        return text

    def length(self, clause: str) -> int:
        """Words of a clause, or its characters where the language is written without spaces."""
        return sum(len(word) if not self.joiner else 1 for word in WORD.findall(clause))

    def said(self) -> Language:
        """The same language as it is handed to the synthesizer: this one, where that makes no difference."""
        return self if self.aloud is None else SaidLanguage(**(_fields(self) | {"joiner": self.aloud.joiner}))

    def _filled(self, match: re.Match[str], slots: dict[str, str]) -> str:
        word, article = slots[match["slot"]], match["article"]
        if article is None:
            return word
        forms = self.articles[article]
        return f"{forms[self._genders.get(word, next(iter(forms)))]} {word}"


class SaidLanguage(Language):
    """A language as it is handed to the synthesizer."""

    def said(self) -> Language:
        """This one."""
        return self

    def join(self, words: list[str]) -> str:
        """Words apart, and those spelt as they sound that are written otherwise."""
        assert self.aloud is not None
        spelling = self.aloud.spelling
        return self.joiner.join(re.sub(r"\w+", lambda match: spelling.get(match[0], match[0]), word) for word in words)


def _fields(language: Language) -> dict[str, Any]:
    return {entry.name: getattr(language, entry.name) for entry in dataclasses.fields(language)}
