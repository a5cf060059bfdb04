"""One of several ways to do a thing, chosen by giving its section in a configuration and no other."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from cslm.errors import UserError


def chosen_section(config: Any, where: str) -> tuple[str, Any]:
    """Name and settings of the one section that is not null.

    Args:
        config: a dataclass whose fields are sections, each null unless it is given.
        where: what the configuration is called in messages.

    Raises:
        UserError: none is given, or several are.
    """
    names = [section.name for section in dataclasses.fields(config)]
    given = [name for name in names if getattr(config, name) is not None]
    if len(given) != 1:
        found = f"{' and '.join(given)} are given" if given else "none is given"
        raise UserError(
            f"{where}: {found}; give the settings of one of {', '.join(names)}, as --{where}.{names[0]}...."
        )
    return given[0], getattr(config, given[0])


def open_chosen(config: Any, where: str, ways: Mapping[str, str], *arguments: Any) -> Any:
    """What the one section that is not null makes, imported now.

    Args:
        ways: by section, ``module:Class`` of what is made from its settings.
        arguments: what else it is made from.

    Raises:
        UserError: as :func:`chosen_section`, or what it names is not there.
        MissingExtraError: its package is not installed.
    """
    name, section = chosen_section(config, where)
    module, _, attribute = ways[name].partition(":")
    return getattr(importlib.import_module(module), attribute)(section, *arguments)
