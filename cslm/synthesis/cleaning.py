"""Written pairs of question and answer, cleaned for speech: mended where a voice needs it, left out where none helps.

The rules are data: a name, the part of a pair that it looks at, and what it looks for. What a rule finds is the reason
with which a pair is left out; the first rule that finds something gives it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from cslm.corpora.instruction_pairs import InstructionPair
from cslm.errors import UserError
from cslm.evaluation.error_rates import by_character, normalize
from cslm.generation.scripts import script_share
from cslm.ranges import Range, check_numbers
from cslm.synthesis.other_language import OtherLanguage
from cslm.synthesis.spoken_marks import LIST_ITEM, spoken_text

_MOST_SHOWN = 40
"""Characters of what was found that a reason shows."""


@dataclass
class CleaningConfig:
    """What can be spoken, and how much of it."""

    leave_out: list[str] = field(default_factory=list)
    """rules that are not applied, by name"""
    join_inputs: bool = False
    """an input is read aloud behind its instruction; false leaves pairs with an input out"""
    question_words: tuple[int, int] = (2, 60)
    """fewest and most words of a question"""
    answer_words: tuple[int, int] = (1, 100)
    """fewest and most words of an answer"""
    list_items: int = 5
    """most lines of a list; a shorter list is read as sentences"""
    digits: int = 8
    """most digits of one number"""
    script: float = 0.95
    """share of the letters that must be in the script of the core language, from 0 to 1"""
    identify: bool = False
    """texts that are told to be in another language are left out (extra langid)"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a rule that there is not, bounds that are no bounds, or a number out of range, by name.
        """
        for name in self.leave_out:
            if name not in CLEANING_RULES:
                raise UserError(f"cleaning.leave_out: no rule {name!r}; the rules are {', '.join(CLEANING_RULES)}")
        check_numbers(
            self, "cleaning", question_words=Range(least=1), answer_words=Range(least=1), list_items=Range(least=0),
            digits=Range(least=1), script=Range(least=0, most=1),
        )  # fmt: skip
        for name in ("question_words", "answer_words"):
            fewest, most = getattr(self, name)
            if fewest > most:
                raise UserError(f"cleaning.{name} is {fewest}, {most}: the fewest come first, and are no more")


@dataclass(frozen=True)
class Limits:
    """What a rule may ask besides the text."""

    config: CleaningConfig
    language: str
    """of both texts, BCP 47"""
    words: tuple[int, int]
    """fewest and most words of the part"""
    other: OtherLanguage | None = None
    """tells texts of another language; None looks at the script alone"""


@dataclass(frozen=True)
class CleaningRule:
    """One thing that a voice cannot say."""

    name_found: str
    """what is found, for the list: ``code``"""
    find: Callable[[str, Limits], str | None]
    """the place where it is found in a text; None where it is not"""
    of: Literal["written", "spoken"] = "written"
    """whether it looks at the text as it is written, or as it is when marks of lists and emphasis are mended"""


@dataclass(frozen=True)
class Refused:
    """A pair that is left out."""

    rule: str
    reason: str


def _pattern(expression: str, flags: int = 0) -> Callable[[str, Limits], str | None]:
    compiled = re.compile(expression, flags)

    def find(text: str, limits: Limits) -> str | None:
        found = compiled.search(text)
        return None if found is None else found[0]

    return find


def _long_list(text: str, limits: Limits) -> str | None:
    items = LIST_ITEM.findall(text)
    return f"{len(items)} lines" if len(items) > limits.config.list_items else None


def _long_number(text: str, limits: Limits) -> str | None:
    found = re.search(rf"\d{{{limits.config.digits + 1},}}", text)
    return None if found is None else found[0]


def _symbol(text: str, limits: Limits) -> str | None:
    """The first character that is neither letter, mark, digit, space, currency nor punctuation that a voice passes."""
    for character in text:
        kind = unicodedata.category(character)
        if kind[0] in "LMN" or kind in ("Zs", "Sc") or character in _PASSED:
            continue
        return f"{character} (U+{ord(character):04X})"
    return None


_PASSED = frozenset(".,;:!?'\"()-–—…’‘“”„«»¿¡%&/\n°、。・，！？：；（）「」『』")


def _few_words(text: str, limits: Limits) -> str | None:
    count = num_words(text, limits.language)
    return f"{count} of at least {limits.words[0]}" if count < limits.words[0] else None


def _many_words(text: str, limits: Limits) -> str | None:
    count = num_words(text, limits.language)
    return f"{count} of at most {limits.words[1]}" if count > limits.words[1] else None


def _other_script(text: str, limits: Limits) -> str | None:
    share = script_share(text, limits.language)
    return f"{share:.0%} of its letters are" if share < limits.config.script else None


def _another_language(text: str, limits: Limits) -> str | None:
    return None if limits.other is None else limits.other.find(text, limits.language)


_CODE = (
    r"```|~~~|</?[a-zA-Z][^<>\n]*>|(?m:^\s*(?:def|class|import|from|function|var|let|const|public|#include|SELECT)\b"
    r".*[(;:{*=<].*$)|(?i:\bselect\b.+\bfrom\b.+(?:;|\bwhere\b))|[{}]|=>|\b[A-Za-z_]\w*\((?!e?s\))[^()\n]*\)|;\s*$"
)
_URL = r"(?i:https?://\S+|\bwww\.\S+|\S+@\S+\.\w+|\b[\w-]+\.(?:com|org|net|edu|gov|io)\b)"
_TABLE = r"(?m:^.*\|.*\|.*$)|\t"
_MATH = (
    r"\\[a-zA-Z]+|\$[^$\n]*[\\^_=][^$\n]*\$|\w\s*[=<>≤≥≠≈]\s*\w|\w\^\w|[√∑∏∫∂∞±×÷²³]|[\dx]\s*[*+]\s*[\dx]|"
    r"\d\s+[-/]\s+\d"
)
_BLANK = r"_{2,}|\.{4,}|\[[^\]\n]*\]|<[^>\n]*>|\bX{3,}\b"
_UNSEEN = (
    r"(?i:\b(?:this|that|the|attached|following|above|below)\s+(?:image|picture|photo|photograph|diagram|chart|graph|"
    r"figure|table|screenshot|video|code|link|attachment|spreadsheet)\b|\b(?:see|shown|listed|given|written)\s+"
    r"(?:above|below)\b)"
)

CLEANING_RULES: dict[str, CleaningRule] = {
    "code": CleaningRule("code", _pattern(_CODE)),
    "address": CleaningRule("an address of the web or of mail", _pattern(_URL)),
    "table": CleaningRule("a table", _pattern(_TABLE)),
    "math": CleaningRule("a formula", _pattern(_MATH)),
    "blank": CleaningRule("a blank to be filled", _pattern(_BLANK)),
    "unseen": CleaningRule("something that only a reader sees", _pattern(_UNSEEN)),
    "list": CleaningRule("a long list", _long_list),
    "number": CleaningRule("a long number", _long_number),
    "symbol": CleaningRule("a symbol that has no sound", _symbol, of="spoken"),
    "few_words": CleaningRule("too few words", _few_words, of="spoken"),
    "many_words": CleaningRule("too many words", _many_words, of="spoken"),
    "script": CleaningRule("another script than its language's", _other_script, of="spoken"),
    "language": CleaningRule("another language", _another_language, of="spoken"),
}
"""Name of a rule to what it looks for, in the order in which they are asked; ``input`` and ``doubled`` come before."""


def num_words(text: str, language: str) -> int:
    """Words of a text, or its letters where the language is written without spaces; punctuation is none."""
    said = normalize(text, language)
    return len(said) if by_character(language) else len(said.split())


class Cleaner:
    """Cleans pairs one after another, and knows which questions it has let through."""

    def __init__(self, config: CleaningConfig, language: str) -> None:
        """Take the rules.

        Args:
            language: of the pairs.

        Raises:
            MissingExtraError: texts are to be identified, and the package that does it is not installed.
        """
        self._config, self._language = config, language
        self._other = OtherLanguage([language]) if config.identify else None
        self._asked: dict[str, str] = {}

    def clean(self, pair: InstructionPair) -> InstructionPair | Refused:
        """The pair as it can be spoken, without an input; or the rule that leaves it out, and what it found."""
        if pair.input and not self._config.join_inputs:
            return Refused("input", f"it has an input: {_short(pair.input)}")
        question = f"{pair.question}\n{pair.input}" if pair.input else pair.question
        spoken = replace(pair, question=spoken_text(question), answer=spoken_text(pair.answer), input="")
        parts = {
            "question": (question, spoken.question, self._config.question_words),
            "answer": (pair.answer, spoken.answer, self._config.answer_words),
        }
        refused = self._found(parts)
        if refused is not None:
            return refused
        key = normalize(spoken.question, self._language)
        before = self._asked.setdefault(key, pair.id)
        return spoken if before == pair.id else Refused("doubled", f"the question was asked before, in {before}")

    def _found(self, parts: Mapping[str, tuple[str, str, tuple[int, int]]]) -> Refused | None:
        for name, rule in CLEANING_RULES.items():
            if name in self._config.leave_out:
                continue
            for part, (written, spoken, words) in parts.items():
                limits = Limits(self._config, self._language, words, self._other)
                found = rule.find(spoken if rule.of == "spoken" else written, limits)
                if found is not None:
                    return Refused(name, f"{rule.name_found} in the {part}: {_short(found)}")
        return None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"
