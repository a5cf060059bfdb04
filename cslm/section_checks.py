"""What the parser of configurations lets pass in a section, and should not: nulls, and empty sections of no name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from jsonargparse import Namespace

from cslm.errors import UserError
from cslm.mistyped import meant


def refuse_empty(config_class: Any, parsed: Any, section: str = "") -> None:
    """Make sure that nothing is null (``key:`` in YAML) which its type does not allow to be.

    Raises:
        UserError: something is, by its key.
    """
    for name, hint in get_type_hints(config_class).items():
        if get_origin(hint) is ClassVar or name not in parsed:
            continue
        value, key = parsed[name], f"{section}{name}"
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if value is None and type(None) not in kinds and hint is not Any:
            raise UserError(f"{key} is empty: give it a value, or leave the key out")
        for kind in kinds:
            for inner, kind_of_inner, place in _sections(kind, value, key):
                refuse_empty(kind_of_inner, inner, f"{place}.")


def refuse_unknown_sections(config_class: Any, content: Mapping[Any, Any], where: str, section: str = "") -> None:
    """Make sure that no section without keys (``optimiser: {}``) has a name that is not known: the parser drops it.

    Args:
        config_class: of the settings in ``content``, as YAML has them.
        where: before the message.
        section: before the keys.

    Raises:
        UserError: one has, by its key.
    """
    hints = get_type_hints(config_class)
    known = {field.name for field in dataclasses.fields(config_class)}
    for name, value in content.items():
        key = f"{section}{name}"
        if value == {} and str(name) not in known and "." not in str(name):
            told = f"unknown key {key!r}{meant(str(name), known)}: known are {', '.join(sorted(known))}"
            raise UserError(f"{where}{told}")
        hint = hints.get(str(name), Any)
        for kind in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
            for inner, kind_of_inner, place in _sections(kind, value, key):
                refuse_unknown_sections(kind_of_inner, inner, where, f"{place}.")


def _sections(kind: Any, value: Any, key: str) -> Iterator[tuple[Any, Any, str]]:
    """The sections in a value of this type, with their classes and keys: itself, or those of a dictionary."""
    if not isinstance(value, Namespace | dict):
        return
    if dataclasses.is_dataclass(kind):
        yield value, kind, key
    elif get_origin(kind) is dict:
        for name, inner in value.items():
            yield from _sections(get_args(kind)[1], inner, f"{key}.{name}")
