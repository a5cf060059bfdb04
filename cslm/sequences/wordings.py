"""What requests say: ten instructions a task and language, and the user prompts of the paper (appendix A).

The words are data (``wordings.yaml``). A request with a speech input reads ``{instruction} This is input:
<sosp>...<eosp>.`` (CSLM section 3.3; Chinese ``{instruction} 这是输入: <sosp>...<eosp>。``). After a text input
there is no full stop, for the text brings its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import yaml

from cslm.corpora.languages import language_tag

FALLBACK = "en"


@dataclass(frozen=True, slots=True)
class Request:
    """The words around an input: ``before`` ends with the space before it, ``after`` is its full stop."""

    before: str
    after: str


def worded_tasks() -> tuple[str, ...]:
    """The tasks that there are wordings for."""
    block = _wordings()[FALLBACK]
    return tuple(task for task, words in block.items() if isinstance(words, list) and task != "input")


def num_wordings(task: str, language: str) -> int:
    """How many ways there are to ask for a task in a language (that of the input)."""
    return len(_block(language, task)[task])


@lru_cache(maxsize=4096)
def worded_request(task: str, wording: int, language: str, target: str = "") -> Request:
    """The ``wording``-th way, counted round, to ask for a task; ``target`` is the language to translate into.

    Asked in ``language``, the language of the input; where that has no block or not this task, in English.
    """
    block = _block(language, task)
    template = block[task][wording % len(block[task])]
    name = _name(block, language)
    words = template.format(language=name, source=name, target=_name(block, target) if target else "")
    return Request(words + block["input"][0], block["input"][1])


@lru_cache(maxsize=4096)
def worded_instruction(task: str, wording: int, language: str, target: str = "") -> str:
    """The same without what leads to an input: the instruction alone."""
    before = worded_request(task, wording, language, target).before
    return before.removesuffix(_block(language, task)["input"][0])


@lru_cache(maxsize=1024)
def dialogue_request(question_language: str, answer_language: str) -> Request:
    """The paper's user prompt. It is written in the language of the answer; where that has no block, in English."""
    block = _block(answer_language)
    if _tag(question_language) == _tag(answer_language) and _tag(answer_language) in _wordings():
        words = block["dialogue"]
    else:
        words = block["dialogue_across"].format(language=_name(block, answer_language))
    return Request(words + block["input"][0], block["input"][1])


def all_wordings(languages: list[str]) -> Iterator[str]:
    """Every request that can be made among these languages, input left out: texts for a text tokenizer to know."""
    for language in languages:
        for task in worded_tasks():
            across = "{target}" in _block(language, task)[task][0]
            targets = [other for other in languages if other != language] if across else [""]
            for target in targets:
                for wording in range(num_wordings(task, language)):
                    request = worded_request(task, wording, language, target)
                    yield request.before + request.after
        for answer_language in languages:
            request = dialogue_request(language, answer_language)
            yield request.before + request.after


@cache
def _wordings() -> dict[str, dict[str, Any]]:
    text = resources.files("cslm.sequences").joinpath("wordings.yaml").read_text(encoding="utf-8")
    wordings: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return wordings


def language_name(language: str) -> str:
    """What a language is called in English; its tag where the wordings have no name for it."""
    return _name(_wordings()[FALLBACK], language)


def _tag(language: str) -> str:
    tag = language_tag(language)
    return tag if tag in _wordings() else tag.split("-")[0]


def _block(language: str, task: str = "input") -> dict[str, Any]:
    """The words of a language; the English ones where it has no block, or none for a task."""
    wordings = _wordings()
    block = wordings.get(_tag(language), wordings[FALLBACK])
    return block if task in block else wordings[FALLBACK]


def _name(block: dict[str, Any], language: str) -> str:
    names: dict[str, str] = block["names"]
    tag = language_tag(language)
    return names.get(tag) or names.get(tag.split("-")[0]) or tag
