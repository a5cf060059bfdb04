"""What a corpus's folder holds: manifests of utterances, documents, what was left out, and how it was made."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from cslm.corpora.intake import NOTED, REJECTED
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines

CARD = "card.json"
CONFIGURATION = "config.yaml"
_LISTS = (REJECTED, NOTED)
_ALL = "manifest"
"""The manifest of all utterances, where others hold parts of it."""
_LONGEST_FACT = 80
_NEEDED = ("id", "audio", "text", "language")
_NAME = re.compile(r"\w+(?:\.\w+)*")


@dataclass(frozen=True)
class CorpusFiles:
    """The files of one corpus."""

    folder: Path
    manifests: dict[str, Path]
    """by the name that they get as a split"""
    documents: dict[str, Path]
    """by the name that they get as a configuration"""
    left_out: tuple[str, ...] = ()
    """files that are in no data set, with the reason"""

    def rejected(self) -> Counter[str]:
        """How many were left out, by kind where the list says one, else together."""
        path = self.folder / REJECTED
        rows = read_json_lines(path) if path.is_file() else iter(())
        return Counter(str(row.get("kind", "cannot be used")) for _, row in rows)

    def configuration(self) -> dict[str, Any]:
        """The options that the corpus was made with, dots between; of paths the last part, of addresses none."""
        path = self.folder / CONFIGURATION
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        return dict(_flat(content)) if isinstance(content, dict) else {}

    def card(self) -> dict[str, Any]:
        """What the maker of the corpus says of it; empty where it says nothing."""
        path = self.folder / CARD
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return content if isinstance(content, dict) else {}

    def steps(self) -> dict[str, str]:
        """Step to what did it, as the maker of the corpus says."""
        card = self.card()
        translators = card.get("translators") or {}
        told = {f"translation, {language}": _facts(found) for language, found in translators.items()}
        return told | {step: str(by) for step, by in (card.get("made_by") or {}).items()}


def find_corpus_files(folder: Path) -> CorpusFiles:
    """The manifests and documents of a folder that ``prepare-corpus`` made, or that looks like one.

    Raises:
        UserError: no such folder, no manifest in it, or a file whose name can be none of a split.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the one that prepare-corpus made")
    manifests: dict[str, Path] = {}
    documents: dict[str, Path] = {}
    left_out: list[str] = []
    for path in sorted(folder.glob("*.jsonl")):
        first = next(read_json_lines(path), None)
        if path.name in _LISTS:
            continue
        if first is None:
            left_out.append(f"{path.name}: holds no line")
            continue
        if _NAME.fullmatch(path.stem) is None:
            raise UserError(
                f"{path}: a data set cannot have this name: use letters, digits and _ (or leave the file out)"
            )
        is_manifest = all(isinstance(first[1].get(name), str) for name in _NEEDED)
        (manifests if is_manifest else documents)[path.stem] = path
    if not manifests:
        raise UserError(f"{folder}: holds no manifest (*.jsonl with {', '.join(_NEEDED)}); name a corpus's folder")
    parts = [path for name, path in manifests.items() if name != _ALL]
    if _ALL in manifests and _utterances([manifests[_ALL]]) == _utterances(parts):
        names = ", ".join(path.name for path in parts)
        left_out.append(f"{manifests.pop(_ALL).name}: every utterance of it is in {names}, and would be written twice")
    if _ALL in manifests and "train" not in manifests:
        manifests = {"train" if name == _ALL else name: path for name, path in manifests.items()}
    if "utterances" in documents:
        raise UserError(f"{documents['utterances']}: documents of this name would hide the utterances: rename the file")
    return CorpusFiles(folder, manifests, documents, tuple(left_out))


def _utterances(manifests: Iterable[Path]) -> set[tuple[Any, Any]]:
    return {(row.get("id"), row.get("audio")) for path in manifests for _, row in read_json_lines(path)}


def _facts(found: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in found.items() if len(str(value)) <= _LONGEST_FACT)


def _flat(content: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        elif value is not None and value != []:
            yield f"{before}{key}", _without_place(value)


def _without_place(value: Any) -> Any:
    """A value as others may read it: no path of a machine and no address."""
    if isinstance(value, list):
        return [_without_place(part) for part in value]
    if not isinstance(value, str):
        return value
    if "://" in value:
        return "an address"
    return PurePath(value).name if value.startswith(("/", "~", "$", ".")) else value
