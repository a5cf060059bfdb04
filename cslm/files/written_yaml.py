"""YAML with its plain words as they are written: ``no`` is a language to one setting and false to another."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")


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
