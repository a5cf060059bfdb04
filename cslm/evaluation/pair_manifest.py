"""Manifests of pairs: a beginning of some utterances, and two endings of which the first is the right one.

JSON Lines. A line holds ``id``, ``kind`` (what is tested), ``prefix`` (ids of utterances, in order; may be empty),
``ending``, ``wrong_ending``, and may hold ``direction``, ``prefix_language``, ``ending_language`` and ``document``
(pairs of one document are not independent of each other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.evaluation.spoken_source import SpokenSource
from cslm.files.json_lines import read_json_lines

_TEXTS = ("id", "kind", "ending", "wrong_ending")


@dataclass(frozen=True)
class Pair:
    """Two stretches of speech that begin alike; the model should find the first one likelier."""

    id: str
    kind: str
    """what is tested; results are given by kind"""
    direction: str | None
    """from which language to which; None: as the utterances say"""
    prefix: tuple[str, ...]
    """names of the utterances that both begin with"""
    ending: str
    wrong_ending: str
    document: str | None = None
    """the story that it is about"""

    @property
    def names(self) -> tuple[str, ...]:
        """The utterances that it needs."""
        return (*self.prefix, self.ending, self.wrong_ending)


@dataclass(kw_only=True)
class PairManifest(SpokenSource):
    """A manifest of pairs and where its utterances are."""

    pairs: str
    """the manifest: JSON Lines with id, kind, prefix, ending, wrong_ending"""
    kinds: list[str] | None = None
    """only pairs of these kinds; null reads all"""

    def files(self) -> list[str]:
        """The manifest, and what its utterances come from."""
        return [self.pairs, *super().files()]


def read_pairs(path: Path, kinds: Sequence[str] | None = None) -> list[Pair]:
    """The pairs of a manifest, or those of some kinds.

    Raises:
        UserError: no such file, none in it, a line that misses a field or has a value of a wrong type, an id twice, or
            a kind of which there is none.
    """
    pairs: dict[str, Pair] = {}
    for number, record in read_json_lines(path):
        where = f"{path}, line {number}"
        pair = _pair(record, where)
        if pair.id in pairs:
            raise UserError(f"{where}: the id {pair.id!r} was used before; make every id unique")
        pairs[pair.id] = pair
    if not pairs:
        raise UserError(f"{path} holds no pair: make it again")
    known = dict.fromkeys(pair.kind for pair in pairs.values())
    for kind in kinds or ():
        if kind not in known:
            raise UserError(f"{path} holds no pair of the kind {kind!r}, but of {', '.join(known)}: mend kinds")
    return [pair for pair in pairs.values() if kinds is None or pair.kind in kinds]


def _pair(record: dict[str, Any], where: str) -> Pair:
    for name in _TEXTS:
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise UserError(f"{where}: {name} must be a text; a pair needs {', '.join(_TEXTS)} and prefix")
    prefix = record.get("prefix")
    if not isinstance(prefix, list) or not all(isinstance(name, str) for name in prefix):
        raise UserError(f"{where}: prefix must be a list of ids of utterances, and may be empty")
    for name in ("direction", "prefix_language", "ending_language", "document"):
        if not isinstance(record.get(name, ""), str):
            raise UserError(f"{where}: {name} must be a text")
    direction = _direction(record, where)
    endings = record["ending"], record["wrong_ending"]
    return Pair(record["id"], record["kind"], direction, tuple(prefix), *endings, record.get("document"))


def _direction(record: dict[str, Any], where: str) -> str | None:
    """What the line says, or its languages by their tags: ``en-fr``."""
    if "direction" in record:
        return str(record["direction"])
    if "prefix_language" not in record or "ending_language" not in record:
        return None
    try:
        return "-".join(language_tag(record[name]) for name in ("prefix_language", "ending_language"))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
