"""What was meant by a name that nobody knows: the nearest of those that there are."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

_UNKNOWN = re.compile(
    r"unrecognized arguments: --(?P<flag>[\w.]+)"
    r"|does not accept option '(?P<key>[^']+)'"
    r"|Option '(?P<option>[^']+)' is not accepted"
)
"""How the parser says that it does not know a setting: on the command line, in a section, in a dictionary of them."""


def meant(given: str, known: Iterable[str]) -> str:
    """A question that offers the nearest of the names that are known, to go behind a wrong one; or nothing."""
    near = difflib.get_close_matches(given, list(known), 1, 0.7)
    return f" (did you mean {near[0]}?)" if near else ""


def meant_setting(said: str, config_class: Any) -> str:
    """The same for a setting that the parser refuses by ``said``; nothing where it says something else."""
    found = _UNKNOWN.search(said)
    if found is None:
        return ""
    given = next(name for name in found.groups() if name)
    keys = set(_all_keys(config_class))
    if found["flag"]:
        return meant(f"--{given}", [f"--{key}" for key in keys])
    return meant(given, keys if "." in given else {key.split(".")[-1] for key in keys})


def _all_keys(config_class: Any, prefix: str = "") -> Iterator[str]:
    """Every setting, dotted as ``section.key``; of a dictionary of sections, those of one without its name."""
    for name, hint in get_type_hints(config_class).items():
        if get_origin(hint) is ClassVar:
            continue
        yield f"{prefix}{name}"
        for kind in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
            section = get_args(kind)[1] if get_origin(kind) is dict else kind
            if dataclasses.is_dataclass(section):
                yield from _all_keys(section, f"{prefix}{name}.")
