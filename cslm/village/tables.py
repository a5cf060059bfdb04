"""The village's tables: one YAML file per language, one per size, checked when they are read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.village.language import SLOT, WORD, Language, kinds_of_slots
from cslm.village.size import VillageSize

VILLAGE_DATA = Path(__file__).parent / "data"
MINIMUM_CLAUSE = 7
"""Words in a clause of an answer, characters for languages written without spaces: as in the paper's chunking."""


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
    if size.content_first:
        language = _content_first(language, size, path)
    _check_lengths(language, size, path)
    _check_articles(language, path)
    _check_aloud(language, path)
    _check_distinct(language, path)
    _check_clauses(language, path)
    _check_facts(language, path)
    _check_tales(language, path)
    language.words = _all_words(language, size)
    return language


def _content_first(language: Language, size: VillageSize, path: Path) -> Language:
    """The language with the wordings in which questions begin with the name, and facts with the value."""
    wordings = language.content_first
    missing = [] if wordings is None else sorted(set(size.attributes) - wordings.phrases.keys())
    if wordings is None or missing:
        found = f"no phrases of {', '.join(missing)}" if missing else "no wordings"
        raise UserError(f"{path}: content_first has {found}; add them, or set content_first of the size to false")
    first = [form.text.startswith("{phrase}") for form in wordings.question_forms]
    first += [phrase.startswith("{name}") for phrase in wordings.phrases.values()]
    first += [re.match(r"\{value(:\w+)?\}", fact) is not None for fact in wordings.facts.values()]
    if not all(first):
        raise UserError(
            f"{path}: content_first: question forms begin with {{phrase}}, phrases with {{name}}, facts with {{value}}"
        )
    attributes = {}
    for name in size.attributes:
        if (table := language.attributes.get(name)) is not None:
            fact = wordings.facts.get(name, table.facts[0])
            attributes[name] = replace(table, phrase=wordings.phrases[name], facts=[fact, *table.facts[1:]])
    return replace(language, question_forms=wordings.question_forms, attributes=language.attributes | attributes)


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


def _check_articles(language: Language, path: Path) -> None:
    """Every article that a template asks for is there, with a form for every gender of the values."""
    for name, attribute in language.attributes.items():
        if attribute.genders and len(attribute.genders) != len(attribute.values):
            found = f"{len(attribute.genders)} genders for {len(attribute.values)} values"
            raise UserError(f"{path}: {name} has {found}; give one for each, in the same order")
    genders = {gender for attribute in language.attributes.values() for gender in attribute.genders}
    for template in [*_templates(language), *_tales(language)]:
        for match in SLOT.finditer(template):
            article = match["article"]
            if article is not None and not genders <= language.articles.get(article, {}).keys():
                raise UserError(f"{path}: {template!r} needs articles.{article} with {', '.join(sorted(genders))}")


def _check_aloud(language: Language, path: Path) -> None:
    for word, spelt in (language.aloud.spelling if language.aloud else {}).items():
        if len(word) != len(spelt):
            raise UserError(f"{path}: aloud.spelling has {spelt!r} for {word!r}; give it as many characters")


def _check_distinct(language: Language, path: Path) -> None:
    """No name or value inside another one, or in any other text of the tables."""
    entities = language.names + [value for attribute in language.attributes.values() for value in attribute.values]
    texts = [language.tell(SLOT.sub("|", template)) for template in [*_templates(language), *_tales(language)]]
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


def _check_facts(language: Language, path: Path) -> None:
    """Every fact states its value word by word, so that an answer can be checked: un hôpital, not l'hôpital."""
    for attribute in language.attributes.values():
        for fact in attribute.facts:
            for value in attribute.values:
                told = language.tell(fact, name=language.names[0], value=value)
                if not contains(told, value, language.joiner):
                    raise UserError(f"{path}: {told!r} does not hold the word {value!r}; reword the fact {fact!r}")


def _check_tales(language: Language, path: Path) -> None:
    for topic, plots in language.tales.items():
        for plot in plots:
            things = sorted(plot.kinds - {"name"})
            if len(plot.middles) != 3 or not plot.endings or len(things) != 1 or things[0] not in language.attributes:
                found = f"{len(plot.middles)} middles, {len(plot.endings)} endings and the slots {things}"
                raise UserError(
                    f"{path}: the plot {plot.opening!r} of {topic} has {found}; it needs three middles, an ending, and "
                    "slots of one attribute beside names"
                )


def _templates(language: Language) -> list[str]:
    templates = [form.text for form in language.question_forms]
    for form in language.answer_forms:
        templates += [clause for clause in (form.lead, form.tail, *form.middle, form.closing) if clause is not None]
    for attribute in language.attributes.values():
        templates += [attribute.phrase, attribute.topic, *attribute.facts]
    patterns = language.patterns + language.short_patterns + language.question_patterns
    return templates + [pattern.text for pattern in patterns]


def _tales(language: Language) -> list[str]:
    return [text for plots in language.tales.values() for plot in plots for text in plot.texts]


def _all_words(language: Language, size: VillageSize) -> list[str]:
    said = replace(
        language,
        attributes={name: language.attributes[name] for name in size.attributes},
        question_forms=language.question_forms[: size.num_question_forms],
        answer_forms=language.answer_forms[: size.num_answer_forms],
    )
    patterns = [pattern.text for pattern in said.patterns + said.short_patterns + said.question_patterns]
    never = [attribute.topic for attribute in said.attributes.values()]  # only written
    never += [text for text in patterns if not kinds_of_slots(text) <= {"name", "value", "phrase", *size.attributes}]
    spoken = [template for template in _templates(said) if template not in never]
    return [word for template in spoken for word in WORD.findall(SLOT.sub(" ", template))]


def contains(text: str, words: str, joiner: str) -> bool:
    """Whether ``words`` stand in ``text``: as whole words, or anywhere where the language is written without spaces."""
    if not joiner:
        return words in text
    return f" {words.lower()} " in f" {' '.join(WORD.findall(text.lower()))} "
