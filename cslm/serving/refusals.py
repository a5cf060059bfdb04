"""What a client is told whose request is not carried out: OpenAI's form of an error, each with a code of its own."""

from __future__ import annotations

import reprlib
from typing import Any

MOST_SEED = 2**53
"""The largest whole number that every client can write."""

_LONGEST_PARAM = 60  # characters of a field's name that are told

_TYPES = {401: "authentication_error", 403: "permission_error", 503: "overloaded_error", 500: "server_error"}


class Refusal(Exception):
    """A request that is refused: why, and what to do."""

    def __init__(self, code: str, message: str, status: int = 400, param: str | None = None) -> None:
        """Say it.

        Args:
            code: its name, for programs.
            message: for people: what was found, where, what to do.
            status: of HTTP.
            param: the field that is to blame.
        """
        super().__init__(message)
        self.code, self.message, self.status, self.param = code, message, status, param

    def to_dict(self) -> dict[str, Any]:
        """``type``, ``code``, ``message`` and ``param``."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        return {"type": kind, "code": self.code, "message": self.message, "param": self.param}


def busy() -> Refusal:
    """All places are taken, and as many requests wait as may."""
    return Refusal("server_busy", "all places are taken, and the queue is full: try again in a few seconds", 503)


def broken() -> Refusal:
    """A fault of the server."""
    return Refusal("server_error", "something went wrong here: the log of the server says what", 500)


def too_slow(longest_sec: float) -> Refusal:
    """A reply that was not over in time."""
    return Refusal("reply_timeout", f"the reply was stopped after {longest_sec:g} s: ask for a shorter one", 500)


def cut_short(what: str, most: int, wanted: str) -> Refusal:
    """What was not over after so many ids."""
    return Refusal("reply_too_long", f"{what} was not over after {most} ids: send {wanted}")


def field_of(content: dict[str, Any], name: str, kinds: type | tuple[type, ...], default: Any = None) -> Any:
    """A field of a JSON object, or its default where it is missing or null.

    Raises:
        Refusal: a value of another type.
    """
    value = content.get(name)
    if value is None:
        return default
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(_JSON_NAMES.get(kind, kind.__name__) for kind in wanted)
        article = "an" if names[0] in "aeiou" else "a"
        raise Refusal("invalid_type", f"{name} is {shown(value)}: give {article} {names}", param=name)
    return value


def number_of(content: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number within a range.

    Raises:
        Refusal: something else.
    """
    value = field_of(content, name, (int, float), default)
    if not least <= value <= most:
        raise Refusal("out_of_range", f"{name} is {shown(value)}: give {plain(least)} to {plain(most)}", param=name)
    return float(value)


def plain(number: float) -> str:
    """A bound as people write it: all digits of whole numbers."""
    return f"{number:.0f}" if float(number).is_integer() else f"{number:g}"


def integer_of(content: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    """A whole number within a range.

    Raises:
        Refusal: something else.
    """
    field_of(content, name, int)
    return int(number_of(content, name, default, least, most))


def refuse_unknown(content: dict[str, Any], known: set[str], where: str) -> None:
    """Make sure that an object has no fields but these, null ones apart.

    Raises:
        Refusal: the first that it has.
    """
    for name, value in content.items():
        if name not in known and value is not None:
            message = f"{where} has {shown(name)}, which this server does not do"
            raise Refusal("unknown_parameter", message, param=name[:_LONGEST_PARAM])


def refuse_unless(content: dict[str, Any], allowed: dict[str, tuple[Any, ...]], where: str) -> None:
    """Make sure that fields which are not read say nothing: each is missing, null or one of its values.

    Raises:
        Refusal: the first that asks for something.
    """
    for name, values in allowed.items():
        value = content.get(name)
        if value is not None and not any(value == one and type(value) is type(one) for one in values):
            only = " or ".join(map(shown, values)) or "nothing"
            message = f"{where} has {name} {shown(value)}, which this server does not do: leave it out ({only})"
            raise Refusal("unsupported_parameter", message, param=name)


_JSON_NAMES: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"} | {
    list: "list"
}


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 60


def shown(value: Any) -> str:
    """A value of JSON as messages name it: in 60 characters, however large it is."""
    text = _REPR.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
