"""Pairs of recordings in folders, as slamkit lays them out: sWUGGY, sBLIMP, spoken StoryCloze and TopicCloze, SALMon.

All but SALMon: the name of a recording begins with a whole number, up to a separator. Recordings are sorted by it, and
each two that follow each other are a pair, the right one first: ``0_brick.wav``, ``1_blick.wav``.
SALMon: eight folders, one a part; the number stands behind the first ``_`` and is that of the pair, whose right one
comes first by name: ``sample_7_0.wav``, ``sample_7_1.wav``.
Only files ``*.wav`` are looked at. What slamkit leaves open or passes over in silence (two recordings of one number, an
odd one, a pair of one) is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cslm.corpora.languages import language_tag
from cslm.errors import UserError

SALMON_PARTS = (
    "bg_alignment", "bg_all_consistency", "bg_domain_consistency", "gender_consistency", "rir_consistency",
    "sentiment_alignment", "sentiment_consistency", "speaker_consistency",
)  # fmt: skip
_NAMED = 5


class Layout(NamedTuple):
    """How the recordings of a benchmark lie in its folder."""

    separator: str
    """what ends the number in a name"""
    subfolders: bool = False
    """whether the recordings lie in folders of the folder, each paired by itself"""
    parts: tuple[str, ...] = ()
    """folders that are scored each by itself, paired by the number of the pair (SALMon)"""


LAYOUTS: dict[str, Layout] = {
    "swuggy": Layout("_", subfolders=True),
    "sblimp": Layout("+", subfolders=True),
    "storycloze": Layout("_"),
    "topiccloze": Layout("_"),
    "salmon": Layout("_", parts=SALMON_PARTS),
}
"""Layouts by the name of the benchmark."""


@dataclass
class PairFolder:
    """A folder of pairs of recordings."""

    path: str
    """the folder"""
    layout: str
    """how its recordings are named: swuggy, sblimp, storycloze, topiccloze or salmon"""
    subfolders: bool | None = None
    """whether the recordings lie in folders of the folder; null: as slamkit has it (swuggy and sblimp: yes)"""
    parts: list[str] | None = None
    """of SALMon: the parts to be scored; null takes all eight"""
    language: str = "en"
    """what is spoken, BCP 47"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value that is none of those that there are, or a setting that the layout does not read.
        """
        if self.layout not in LAYOUTS:
            raise UserError(f"layout is {self.layout!r}: choose one of {', '.join(LAYOUTS)}")
        known = LAYOUTS[self.layout].parts
        if self.parts is not None and not known:
            raise UserError(f"the layout {self.layout} has no parts: leave parts out")
        if known and self.subfolders is not None:
            raise UserError(f"the layout {self.layout} has parts, not subfolders: leave subfolders out")
        unknown = [part for part in self.parts or () if part not in known]
        if unknown or self.parts == []:
            raise UserError(f"parts is {self.parts}: choose of {', '.join(known)}")
        self.language = language_tag(self.language)


class RecordedPair(NamedTuple):
    """Two recordings of which the first is the right one."""

    kind: str
    """the layout, or the part"""
    right: Path
    wrong: Path


def recorded_pairs(folder: PairFolder, root: Path, notes: list[str]) -> list[RecordedPair]:
    """The pairs of a folder, below ``root`` unless its path is absolute.

    Args:
        notes: takes what looks odd and is read all the same.

    Raises:
        UserError: no such folder, no pair in it, a name that does not fit the layout, or a recording without partner.
    """
    place, layout = root / folder.path, LAYOUTS[folder.layout]
    if layout.parts:
        parts = folder.parts or list(layout.parts)
        return [pair for part in parts for pair in _numbered_pairs(_folder(place / part), part, notes)]
    subfolders = layout.subfolders if folder.subfolders is None else folder.subfolders
    places = sorted(path for path in _folder(place).iterdir() if path.is_dir()) if subfolders else [place]
    pairs = [pair for one in places for pair in _consecutive_pairs(one, folder.layout, layout.separator, notes)]
    if not pairs:
        advice = "false: its recordings lie in it" if subfolders else "true: they lie in folders of it"
        raise UserError(
            f"{place} holds no pair of the layout {folder.layout}: name another, or set subfolders {advice}"
        )
    return pairs


def _folder(place: Path) -> Path:
    if not place.is_dir():
        raise UserError(f"{place}: there is no such folder: unpack the benchmark there, or name another")
    return place


def _consecutive_pairs(place: Path, kind: str, separator: str, notes: list[str]) -> list[RecordedPair]:
    """Recordings sorted by their number, two by two."""
    numbered = sorted((_number(path, path.name, 0, separator), path) for path in _folder(place).glob("*.wav"))
    for (number, path), (following, other) in pairwise(numbered):
        if number == following:
            raise UserError(
                f"{place}: {path.name} and {other.name} have one number, and nothing says which is the right one: "
                "give every recording its own, the right one's first"
            )
    if len(numbered) % 2:
        raise UserError(
            f"{place} holds {len(numbered)} recordings: one has no partner{_first_gap(dict(numbered))}; copy the "
            "folder again, or take the odd one out"
        )
    pairs = list(zip(numbered[::2], numbered[1::2], strict=True))
    first = numbered[0][0] if numbered else 0
    apart = [f"{right.name} and {wrong.name}" for (n, right), (m, wrong) in pairs if m != n + 1 or (n - first) % 2]
    if apart:
        notes.append(
            f"{place}: the numbers of {len(apart)} of {len(pairs)} pairs are not the next two "
            f"({'; '.join(apart[:_NAMED])}): they are paired as they are sorted"
        )
    return [RecordedPair(kind, right, wrong) for (_, right), (_, wrong) in pairs]


def _numbered_pairs(place: Path, kind: str, notes: list[str]) -> Iterator[RecordedPair]:
    """Recordings of one number, sorted by name: the first two."""
    groups: dict[int, list[Path]] = {}
    for path in sorted(place.glob("*.wav")):
        groups.setdefault(_number(path, path.stem, 1, "_"), []).append(path)
    if not groups:
        raise UserError(f"{place} holds no recording *.wav: unpack the benchmark again")
    alone = [group[0].name for group in groups.values() if len(group) == 1]
    if alone:
        raise UserError(
            f"{place}: {len(alone)} recordings have no partner of their number ({', '.join(sorted(alone)[:_NAMED])}): "
            "unpack the benchmark again"
        )
    more = [path.name for group in groups.values() for path in group[2:]]
    if more:
        notes.append(
            f"{place}: {len(more)} recordings are the third or later of their number and left out: {more[:_NAMED]}"
        )
    return (RecordedPair(kind, group[0], group[1]) for _, group in sorted(groups.items()))


def _number(path: Path, name: str, field: int, separator: str) -> int:
    fields = name.split(separator)
    try:
        return int(fields[field])
    except (ValueError, IndexError):
        wanted = "begin with a whole number and" if field == 0 else "hold a whole number behind its first"
        raise UserError(
            f"{path}: the name of a recording must {wanted} {separator!r} in this layout: rename it, or take it out"
        ) from None


def _first_gap(numbered: Mapping[int, Path]) -> str:
    """Which number is missing first, if any."""
    gap = next(((n, m) for n, m in pairwise(sorted(numbered)) if m != n + 1), None)
    return (
        "" if gap is None else f" (no number {gap[0] + 1} between {numbered[gap[0]].name} and {numbered[gap[1]].name})"
    )
