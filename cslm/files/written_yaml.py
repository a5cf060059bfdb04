"""YAML with its plain words as they are written: ``no`` is a language to one setting and false to another."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml

from cslm.errors import UserError

_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")


_HOME = re.compile(r"~(?:[\w.-]+/|/|$)")
_VARIABLE = re.compile(r"(?:^|/)\$(?:\w+|\{\w+\})")
_LEFT = re.compile(r"\$(?:\w+|\{\w+\})")


class Written(NamedTuple):
    """A plain word that YAML takes for something else than text."""

    text: str
    """as it is written"""
    value: Any
    """a number, a truth value or null"""


def read_written(text: str) -> Any:
    """The content of YAML; its keys are text, and a word in quotes is too.

    Raises:
        yaml.YAMLError: it is no YAML, or a key stands in it twice.
    """
    return yaml.load(text, _Loader)


def as_written(content: Any) -> Any:
    """Content of YAML as YAML takes it, where no setting says otherwise."""
    if isinstance(content, list):
        return [as_written(item) for item in content]
    if isinstance(content, dict):
        return {key: as_written(value) for key, value in content.items()}
    return content.value if isinstance(content, Written) else content


def expand_path(text: str) -> str:
    """A path with a ``~`` at its beginning and with ``$NAME`` or ``${NAME}`` at the beginning of a part expanded.

    Any other text stays as it is.

    Raises:
        UserError: a variable that is not set.
    """
    expanded = os.path.expanduser(text) if _HOME.match(text) else text
    if _VARIABLE.search(expanded) is None:
        return expanded
    expanded = os.path.expandvars(expanded)
    left = _LEFT.search(expanded)
    if left is not None:
        raise UserError(f"{text}: the variable {left[0]} is not set: set it, or write the path without it")
    return expanded


def path_of(text: str) -> Path:
    """The path of an argument of a command line, expanded.

    Raises:
        UserError: as :func:`expand_path`.
    """
    return Path(expand_path(text))


def as_meant(content: Any, hint: Any) -> Any:
    """Content of YAML as the type ``hint`` of a setting takes it: a plain ``no`` may be text, and 5e7 a whole number.

    Raises:
        UserError: as :func:`expand_path`.
    """
    if isinstance(content, Written):
        return _value_as_meant(content, _members(hint))
    if isinstance(content, list):
        inner = [get_args(member)[0] for member in _members(hint) if get_origin(member) in (list, tuple)]
        return [as_meant(item, inner[0] if inner else Any) for item in content]
    if isinstance(content, dict):
        return {key: as_meant(value, hint_inside(hint, key)) for key, value in content.items()}
    return expand_path(content) if isinstance(content, str) else content


def _value_as_meant(written: Written, members: tuple[Any, ...]) -> Any:
    text, value = written
    if value is None or type(value) in members or Any in members:
        return value
    if isinstance(value, float) and value.is_integer() and int in members and float not in members:
        return int(value)
    return expand_path(text) if str in members else value


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def hint_inside(hint: Any, key: str) -> Any:
    """The type of what stands under ``key`` in a value of a type; Any where nothing is known."""
    for member in _members(hint):
        if dataclasses.is_dataclass(member) and isinstance(member, type):
            return get_type_hints(member).get(key, Any)
        if get_origin(member) is dict:
            return get_args(member)[1]
    return Any


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error: YAML's own loader drops the first without a word."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        if isinstance(node, yaml.ScalarNode) and node.style is None and not isinstance(value, str):
            return Written(node.value, value)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands there twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        content = super().construct_mapping(node, deep)
        return {key.text if isinstance(key, Written) else key: value for key, value in content.items()}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, words) for tag, words in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
