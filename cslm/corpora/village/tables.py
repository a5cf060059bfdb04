"""The village's tables: one YAML file per language, one per size, checked when they are read."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from cslm.configuration import load_configuration
from cslm.errors import UserError

VILLAGE_DATA = Path(__file__).parent / "data"
MINIMUM_CLAUSE = 7
"""Words in a clause of an answer, characters for languages written without spaces: as in the paper's chunking."""

_SLOT = re.compile(r"\{[a-z]+\d*\}")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass
class VillageSize:
    """How large a village is and how much is told about it."""

    languages: list[str]
    """Names of the tables: en, zh, or paths of other YAML files."""
    num_people: int
    """The first so many names."""
    attributes: list[str]
    """Which attributes people have."""
    num_question_forms: int
    """The first so many ways to ask."""
    num_answer_forms: int
    """The first so many ways to answer."""
    held_out_fraction: float
    """Share of the (person, attribute) pairs that are never heard in training; rounded up."""
    num_question_voices: int
    """Voices a language that ask in training; one more is heard only in a test."""
    voices_per_question: int
    """Renderings of each training question, each by another voice."""
    jitter: float
    """Pitch and rate of the asking voices vary by this share, up and down."""
    num_clause_sentences: int
    """Free sentences in the answer voice made of an answer's clauses, with any name and value."""
    num_other_answer_voice_sentences: int
    """Other free sentences in the answer voice."""
    num_short_sentences: int
    """Sentences of one to three words in the voices that ask, in each language: hearing starts from them."""
    num_question_voice_sentences: int
    """Free sentences in the asking voices."""
    num_free_dialogues_per_direction: int
    """Free sentences made of clauses that a voice that asks says too, and that are said back."""
    num_stories_per_person: int
    """Written tellings of each person's facts, in each language."""
    num_text_sentences: int
    """Free sentences that are told in written documents too, in each language."""
    num_instructions: int
    """Written instructions with replies, in each language."""
    num_translations: int
    """Sentence pairs, in each direction."""
    num_asr_test: int
    """Test utterances of heard voices, in each language."""
    num_unheard_test: int
    """Test utterances of the voice that training never heard, in each language."""
    num_tts_test: int
    """Test utterances in the answer voice, in each language."""
    num_dialogue_test: int
    """Test questions in each language; 0 takes every held-out pair with every question form."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: more sentences are said back than there are.
        """
        said_back, said = self.num_free_dialogues_per_direction, self.num_clause_sentences
        if said_back > said:
            raise UserError(f"num_free_dialogues_per_direction {said_back} is above num_clause_sentences {said}")


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
    words: list[str] = field(default_factory=list)
    """Words of what is said, without names and values, each as often as it stands there; filled in by the reader."""

    def tell(self, template: str, **slots: str) -> str:
        """A template with its slots filled in, and this language's way to write words."""
        return template.format_map(slots).replace(" ", self.joiner)

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
        return sum(len(word) if not self.joiner else 1 for word in _WORD.findall(clause))


def load_size(name: str) -> VillageSize:
    """A size by its name (small, full, tiny) or the path of a YAML file.

    Raises:
        UserError: no such file, or a key or value that does not fit.
    """
    return load_configuration(VillageSize, _table_path(name, "size"))


def load_language(name: str, size: VillageSize) -> Language:
    """The tables of one language, checked against what ``size`` needs of them.

    Raises:
        UserError: no such file, a key or value that does not fit, or a table that is too short or ambiguous.
    """
    path = _table_path(name, "language")
    language = load_configuration(Language, path)
    _check_lengths(language, size, path)
    _check_distinct(language, path)
    _check_clauses(language, path)
    language.words = _all_words(language, size)
    return language


def _table_path(name: str, kind: str) -> Path:
    path = Path(name) if name.endswith((".yaml", ".yml")) else VILLAGE_DATA / f"{name}.yaml"
    if not path.is_file():
        there = sorted(entry.stem for entry in VILLAGE_DATA.glob("*.yaml"))
        raise UserError(f"{path}: no such table for the village's {kind} {name!r}; there are {', '.join(there)}")
    return path


def _check_lengths(language: Language, size: VillageSize, path: Path) -> None:
    for found, needed, what in (
        (len(language.names), size.num_people, "names"),
        (len(language.question_forms), size.num_question_forms, "question_forms"),
        (len(language.answer_forms), size.num_answer_forms, "answer_forms"),
        (
            len(language.question_voices.accents) * len(language.question_voices.variants),
            size.num_question_voices + 1,
            "question_voices (accents x variants)",
        ),
    ):
        if found < needed:
            raise UserError(f"{path}: {found} {what}, but the village needs {needed}; add more or take a smaller size")
    for attribute in size.attributes:
        if attribute not in language.attributes:
            raise UserError(f"{path}: no attribute {attribute!r}; it has {', '.join(language.attributes)}")


def _check_distinct(language: Language, path: Path) -> None:
    """No name or value inside another one, or in any other text of the tables."""
    entities = language.names + [value for attribute in language.attributes.values() for value in attribute.values]
    texts = [language.tell(_SLOT.sub("|", template)) for template in _templates(language)]
    for index, entity in enumerate(entities):
        others = entities[:index] + entities[index + 1 :] + texts
        clash = next((other for other in others if contains(other, entity, language.joiner)), None)
        if clash is not None:
            raise UserError(f"{path}: {entity!r} also stands in {clash!r}; every name and value must be unmistakable")


def _check_clauses(language: Language, path: Path) -> None:
    shortest_name = min(language.names, key=len)
    for form in language.answer_forms:
        if len(form.middle) != 2 or (form.lead is None) == (form.tail is None):
            raise UserError(f"{path}: an answer form needs two middle clauses, and either a lead or a tail")
        if any(form.fact >= len(attribute.facts) for attribute in language.attributes.values()):
            raise UserError(f"{path}: an answer form asks for fact {form.fact}, but an attribute has fewer wordings")
        clauses = [clause for clause in (form.lead, form.tail, form.closing, *form.middle) if clause is not None]
        clauses += [attribute.facts[form.fact] for attribute in language.attributes.values()]
        for clause in clauses:
            if language.length(language.tell(clause, name=shortest_name, value="xx")) < MINIMUM_CLAUSE:
                raise UserError(f"{path}: {clause!r} is shorter than {MINIMUM_CLAUSE} words or characters; lengthen it")


def _templates(language: Language) -> list[str]:
    templates = [form.text for form in language.question_forms]
    for form in language.answer_forms:
        templates += [clause for clause in (form.lead, form.tail, *form.middle, form.closing) if clause is not None]
    for attribute in language.attributes.values():
        templates += [attribute.phrase, attribute.topic, *attribute.facts]
    patterns = language.patterns + language.short_patterns + language.question_patterns
    return templates + [pattern.text for pattern in patterns]


def _all_words(language: Language, size: VillageSize) -> list[str]:
    said = dataclasses.replace(
        language,
        attributes={name: language.attributes[name] for name in size.attributes},
        question_forms=language.question_forms[: size.num_question_forms],
        answer_forms=language.answer_forms[: size.num_answer_forms],
    )
    patterns = [pattern.text for pattern in said.patterns + said.short_patterns + said.question_patterns]
    never = [attribute.topic for attribute in said.attributes.values()]  # only written
    never += [text for text in patterns if not set(_slot_kinds(text)) <= {"name", "value", "phrase", *size.attributes}]
    spoken = [template for template in _templates(said) if template not in never]
    return [word for template in spoken for word in _WORD.findall(_SLOT.sub(" ", template))]


def _slot_kinds(text: str) -> list[str]:
    return [slot.strip("{}0123456789") for slot in _SLOT.findall(text)]


def contains(text: str, words: str, joiner: str) -> bool:
    """Whether ``words`` stand in ``text``: as whole words, or anywhere where the language is written without spaces."""
    if not joiner:
        return words in text
    return f" {words.lower()} " in f" {' '.join(_WORD.findall(text.lower()))} "


def table_name(path: str | os.PathLike[str]) -> str:
    """Short name of a table, for messages and the corpus card."""
    return Path(path).stem
