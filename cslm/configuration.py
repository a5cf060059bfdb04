"""Configuration: dataclasses, YAML files and ``--section.key value`` on the command line, by jsonargparse.

Each stage keeps its dataclass beside the function it configures. Unknown keys and wrong types are refused by name.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_origin, get_type_hints

import docstring_parser
import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.files.shipped_files import find_shipped
from cslm.files.written_yaml import Written, as_meant, as_written, expand_path, hint_inside, read_written
from cslm.mistyped import meant, meant_setting
from cslm.section_checks import refuse_empty, refuse_unknown_sections

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Config = TypeVar("Config", bound=DataclassInstance)
else:
    Config = TypeVar("Config")


class _Parser(ArgumentParser):
    """A parser that raises instead of leaving the process."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(f"{self.prog}: {message}") from ex


def parse_configuration(
    config_class: type[Config], arguments: Sequence[str], program: str, positionals: Sequence[str] = ()
) -> Config:
    """Build ``config_class`` from ``--config FILE.yaml`` and ``--section.key value``, which wins over files.

    The fields named in ``positionals`` (required ones, strings or lists of strings) are given without their name, in
    that order. ``--local_rank N``, which the DeepSpeed launcher adds, is accepted and ignored (the environment says
    the rank). A ``~`` at the beginning of a path and ``$NAME`` in it are expanded, in files and arguments alike.

    Raises:
        UserError: an unknown key, a wrong type, a missing required key, an unreadable YAML file, or a path with a
            variable that is not set.
    """
    parser = _make_parser(config_class, program, positionals)
    _refuse_former_flags(arguments, program, former_names(config_class))
    cleaned, files = _with_shipped_files(_without_local_rank(arguments), program, config_class)
    try:
        parsed = parser.parse_args(cleaned)
        refuse_empty(config_class, parsed)
        namespace = parser.instantiate(parsed)
    except ValueError as error:
        said = str(_of_user(error)).replace(f'Parser key "config": {program}: ', "")
        said += meant_setting(said, config_class)
        raise UserError(f"{said} (read: {', '.join(files)})" if files else said) from error
    return config_class(**{field.name: namespace[field.name] for field in dataclasses.fields(config_class)})


def _of_user(error: BaseException) -> UserError:
    """The user's error, which the parser wraps where a section may be null.

    Raises:
        BaseException: ``error`` itself, where there is none behind it.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, UserError):
        found = found.__cause__
    if found is None:
        raise error
    return found


def load_configuration(config_class: type[Config], path: str | os.PathLike[str], *overrides: str) -> Config:
    """The configuration in one YAML file, with ``--section.key=value`` overrides.

    Raises:
        UserError: as :func:`parse_configuration`.
    """
    return parse_configuration(config_class, ["--config", str(path), *overrides], str(path))


def given_keys(arguments: Sequence[str], program: str) -> list[str]:
    """The keys that configuration files and arguments give, dotted as ``section.key``, as far as YAML nests them.

    For who must know them before the configuration is built: which sections there are, which keys have a new name.

    Raises:
        UserError: an unreadable YAML file.
    """
    keys: list[str] = []
    for place, argument in enumerate(arguments):
        if argument == "--config" and place + 1 < len(arguments):
            keys += _dotted(_read_configuration(arguments[place + 1], program)[1])
        elif argument.startswith("--config="):
            keys += _dotted(_read_configuration(argument.removeprefix("--config="), program)[1])
        elif argument.startswith("--"):
            keys.append(argument.removeprefix("--").split("=")[0])
    return keys


def _dotted(content: dict[Any, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in content.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys


def former_names(config_class: type[DataclassInstance]) -> dict[str, str]:
    """New names by the former ones, dots between, of the settings of ``config_class`` and of its sections.

    Each class names those of its own settings in ``FORMER_NAMES``.
    """
    own: dict[str, str] = getattr(config_class, "FORMER_NAMES", {})
    sections = {name: hint for name, hint in get_type_hints(config_class).items() if dataclasses.is_dataclass(hint)}
    return own | {
        f"{name}.{former}": f"{name}.{new}"
        for name, section in sections.items()
        for former, new in getattr(section, "FORMER_NAMES", {}).items()
    }


def under_new_names(content: Any, names: Mapping[str, str]) -> Any:
    """What an older version wrote, with its settings where they stand today."""
    if not isinstance(content, dict):
        return content
    moved = copy.deepcopy(content)
    values = {new: _taken(moved, former.split(".")) for former, new in names.items() if _has(content, former)}
    for new, value in values.items():
        *groups, name = new.split(".")
        place = moved
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return moved


def to_plain(value: Any) -> Any:
    """A configuration as dictionaries, lists and scalars, ready for YAML or JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Namespace):
        return to_plain(value.as_dict())
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def save_configuration(config: Any, path: Path) -> None:
    """Write the resolved configuration as YAML beside the output that it made, atomically."""
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode("utf-8"))


def _make_parser(config_class: type[DataclassInstance], program: str, positionals: Sequence[str]) -> _Parser:
    set_parsing_settings(docstring_parse_attribute_docstrings=True, instantiate_subclass_spec_in_any=False)
    documentation = docstring_parser.parse_from_object(config_class)
    sentences = {item.arg_name: item.description for item in documentation.params}
    hints = get_type_hints(config_class) if positionals else {}
    parser = _Parser(prog=program, default_env=False, allow_abbrev=False)
    for name in positionals:
        many = get_origin(hints[name]) is list
        parser.add_argument(name, type=str, nargs="+" if many else None, help=sentences.get(name))
    parser.add_argument("--config", action="config", help="a YAML file; given more than once, the later wins")
    parser.add_class_arguments(config_class, nested_key=None, skip=set(positionals))
    return parser


def _with_shipped_files(
    arguments: list[str], program: str, config_class: type[DataclassInstance]
) -> tuple[list[str], list[str]]:
    """The arguments with every ``--config`` file found and its top-level keys known; and those files."""
    files: list[str] = []
    contents: list[str] = []
    rest: list[str] = []
    wanted = False
    for argument in arguments:
        if wanted or argument.startswith("--config="):
            path, content = _find_configuration(argument.removeprefix("--config="), program, config_class)
            files.append(path)
            contents.append(_flow_yaml(content))
            wanted = False
        elif argument == "--config":
            wanted = True
        else:
            rest.append(argument)
    # Files first: what stands on the command line wins over them, wherever it stands.
    meant = _arguments_as_meant(rest, config_class)
    return [*(f"--config={content}" for content in contents), *meant, *(["--config"] if wanted else [])], files


def _find_configuration(name: str, program: str, config_class: type[DataclassInstance]) -> tuple[str, Any]:
    """A file and what its settings mean."""
    path, content = _read_configuration(name, program)
    known = {field.name for field in dataclasses.fields(config_class)}
    names = former_names(config_class)
    for key in content:
        if str(key).split(".")[0] not in known:
            if str(key) in names:
                raise UserError(f"{path}: {key} is now {names[str(key)]}: write it there")
            raise UserError(
                f"{path}: unknown key {key!r}{meant(str(key), known)}: known are {', '.join(sorted(known))}"
            )
    plain = as_written(content)
    for former, new in names.items():
        if _has(plain, former):
            raise UserError(f"{path}: {former} is now {new}: write it there")
    refuse_unknown_sections(config_class, content, f"{path}: ")
    return str(path), as_meant(content, config_class)


def _read_configuration(name: str, program: str) -> tuple[Path, dict[Any, Any]]:
    """Where a YAML file is, and its keys."""
    name = expand_path(name)
    path = Path(name) if Path(name).is_file() else find_shipped(name)
    if path is None:
        raise UserError(f"{program}: there is no configuration file {name}: give the path of a YAML file")
    try:
        content = read_written(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no keys: expected YAML of the form `key: value`")
    return path, content


def _has(content: dict[str, Any], former: str) -> bool:
    """Whether a setting stands under its former name; a group may have that name today."""
    value: Any = content
    for part in former.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return value is not None and not isinstance(value, dict)


def _taken(content: dict[str, Any], path: Sequence[str]) -> Any:
    for part in path[:-1]:
        content = content[part]
    return content.pop(path[-1])


def _refuse_former_flags(arguments: Sequence[str], program: str, names: Mapping[str, str]) -> None:
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        flag, _, given = argument.partition("=")
        key = flag.removeprefix("--")
        top = key.split(".")[0]
        new = names[top] + key.removeprefix(top) if top in names else names.get(key)
        is_group_of_today = top not in names and (given or following or "").startswith("{")
        if flag.startswith("--") and new is not None and not is_group_of_today:
            raise UserError(f"{program}: {flag} is now --{new}: give it by that name")


def _flow_yaml(content: Any) -> str:
    """Plain values on one line, as YAML reads them: JSON, but for numbers that JSON does not know."""
    if isinstance(content, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_flow_yaml(content[key])}" for key in content)
            + "}"
        )
    if isinstance(content, list | tuple):
        return f"[{', '.join(map(_flow_yaml, content))}]"
    if isinstance(content, float) and not math.isfinite(content):
        return ".nan" if math.isnan(content) else ".inf" if content > 0 else "-.inf"
    return json.dumps(content, ensure_ascii=False)


def _arguments_as_meant(arguments: Sequence[str], config_class: type[DataclassInstance]) -> list[str]:
    """The arguments, with values in brackets and numbers as the settings take them."""
    meant = []
    flag = ""
    for argument in arguments:
        name, equals, value = argument.partition("=") if argument.startswith("--") else (flag, "", argument)
        hint: Any = config_class if name else Any
        for key in name.removeprefix("--").split("."):
            hint = hint_inside(hint, key)
        changed = _argument_as_meant(value, hint) if equals or not argument.startswith("--") else value
        meant.append(argument if changed == value else f"{name}={changed}" if equals else changed)
        flag = argument if argument.startswith("--") and not equals else ""
    return meant


def _argument_as_meant(value: str, hint: Any) -> str:
    try:
        content = read_written(value) if value[:1] in "[{" or hint is not Any else value
    except yaml.YAMLError:
        content = value
    if isinstance(content, list | dict) and hint is not str:
        found = as_meant(content, hint)
        same = hint is Any and found == as_written(content)
        return value if same else _flow_yaml(found)
    if isinstance(content, Written) and isinstance(content.value, float):
        found = as_meant(content, hint)
        return str(found) if isinstance(found, int) else value
    return expand_path(value)


def _without_local_rank(arguments: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--local_rank", "--local-rank"):
            skip = True
        elif not argument.startswith(("--local_rank=", "--local-rank=")):
            kept.append(argument)
    return kept
