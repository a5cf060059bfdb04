"""Replies that are one JSON object with the keys that were asked for, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from cslm.corpora.text_documents import half_of_a_character
from cslm.errors import first_line
from cslm.evaluation.chat import UnwantedReplyError
from cslm.ranges import Range

Kind = Literal["whole number", "number", "true or false", "text"]

_TYPES: dict[str, tuple[type, ...]] = {
    "whole number": (int,),
    "number": (int, float),
    "true or false": (bool,),
    "text": (str,),
}
_ANY = Range()
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)


@dataclass(frozen=True)
class WantedKey:
    """What a key must hold."""

    kind: Kind
    allowed: Range = _ANY
    """of numbers: those that there may be"""

    def fault(self, value: Any) -> str:
        """What is wrong with a value, in words; nothing where it is right."""
        if half_of_a_character(value) is not None:
            return "holds half of a Unicode character"
        right_type = isinstance(value, _TYPES[self.kind]) and isinstance(value, bool) == (self.kind == "true or false")
        if right_type and (self.kind in ("true or false", "text") or value in self.allowed):
            return ""
        return f"is {json.dumps(value, ensure_ascii=False)} and must be {self}"

    def __str__(self) -> str:
        article = "" if self.kind == "true or false" else "a "
        bounds = "" if self.allowed == _ANY else f", {self.allowed}"
        return f"{article}{self.kind}{bounds}"


def read_json(reply: str, wanted: Mapping[str, WantedKey]) -> dict[str, Any]:
    """The object in a reply: all keys that are wanted and no other, each once.

    A code fence around it, and the thoughts of a reasoning model before it (``<think>``), are taken off.

    Raises:
        UnwantedReplyError: it is something else; the message says what, for the model to mend.
    """
    text = _THOUGHT.sub("", reply, count=1).strip()
    fenced = _FENCED.fullmatch(text)
    try:
        found = json.loads(fenced[1] if fenced else text, object_pairs_hook=_each_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UnwantedReplyError(f"the reply is not one JSON object alone ({first_line(error)})") from None
    if not isinstance(found, dict):
        raise UnwantedReplyError(f"the reply is JSON, but no object with the keys {', '.join(wanted)}")
    faults = [f"the key {name} is missing" for name in wanted if name not in found]
    faults += [f"the key {name} was not asked for" for name in found if name not in wanted]
    faults += [f"{name} {fault}" for name, key in wanted.items() if name in found and (fault := key.fault(found[name]))]
    if faults:
        raise UnwantedReplyError("; ".join(faults))
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the key {name} stands twice")
    return dict(pairs)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
