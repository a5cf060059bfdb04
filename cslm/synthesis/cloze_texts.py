"""Stories with endings, as StoryCloze and ROCStories give them: tables whose header says which of the layouts it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cslm.corpora.table_rows import read_rows
from cslm.errors import UserError

_DELIMITERS = {".tsv": "\t", ".txt": "\t", ".csv": ","}


@dataclass(frozen=True)
class _Layout:
    """The columns of a table."""

    name: str
    sentences: tuple[str, ...]
    endings: tuple[str, ...] = ()
    """The two of which one is right; none: the last sentence is the ending, and there is no wrong one."""
    answer: str = ""
    """Says which ending is right, 1 or 2."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name, *self.sentences, *self.endings, *([self.answer] if self.answer else []))


_LAYOUTS = (
    _Layout(
        "InputStoryid",
        tuple(f"InputSentence{number}" for number in range(1, 5)),
        ("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2"),
        "AnswerRightEnding",
    ),
    _Layout(
        "story_id",
        tuple(f"input_sentence_{number}" for number in range(1, 5)),
        ("sentence_quiz1", "sentence_quiz2"),
        "answer_right_ending",
    ),
    _Layout("storyid", tuple(f"sentence{number}" for number in range(1, 6))),
)
"""Of StoryCloze, of its data set on the Hub, and of ROCStories."""


@dataclass(frozen=True)
class ClozeStory:
    """A story, its right ending, and a wrong one where its authors wrote one."""

    name: str
    beginning: tuple[str, ...]
    ending: str
    wrong_ending: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them: the beginning, the right ending, the wrong one."""
        return (*self.beginning, self.ending, *([self.wrong_ending] if self.wrong_ending is not None else []))


def cloze_stories(path: str) -> Iterator[ClozeStory]:
    """The stories of a table, in order.

    Raises:
        UserError: no such table, another header, an id twice, an empty cell, or no answer (as in StoryCloze's test of
            2018, whose answers are not public).
    """
    file = Path(path)
    suffix = (Path(file.stem) if file.suffix == ".gz" else file).suffix.lower()
    if not file.is_file() or suffix not in _DELIMITERS:
        raise UserError(f"{path}: no such table of stories (.csv, .tsv)")
    rows = read_rows(file, _DELIMITERS[suffix], "csv" if suffix == ".csv" else "auto", [])
    header = [cell.strip() for cell in next(rows, (0, list[str]()))[1]]
    layout = _layout_of(header, path)
    places: dict[str, int] = {}
    for number, cells in rows:
        where = f"{path}, line {number}"
        if len(cells) != len(header):
            raise UserError(f"{where}: has {len(cells)} columns, the header {len(header)}")
        story = _story(dict(zip(header, (" ".join(cell.split()) for cell in cells), strict=True)), layout, where)
        if story.name in places:
            raise UserError(f"{where}: the id {story.name!r} stands in line {places[story.name]} too")
        places[story.name] = number
        yield story


def _layout_of(header: list[str], path: str) -> _Layout:
    if not header:
        raise UserError(f"{path}: is empty; a table of StoryCloze or ROCStories is wanted, with its header")
    for layout in _LAYOUTS:
        if set(layout.columns) <= set(header):
            return layout
    known = "; ".join(", ".join(layout.columns) for layout in _LAYOUTS)
    raise UserError(
        f"{path}: its header ({', '.join(header)[:200]}) is none of those of StoryCloze and ROCStories: {known}"
    )


def _story(row: Mapping[str, str], layout: _Layout, where: str) -> ClozeStory:
    empty = [column for column in layout.columns if not row[column]]
    if empty:
        raise UserError(f"{where}: {empty[0]} is empty; complete or remove the line")
    sentences = tuple(row[column] for column in layout.sentences)
    if not layout.endings:
        return ClozeStory(row[layout.name], sentences[:-1], sentences[-1])
    if row[layout.answer] not in ("1", "2"):
        raise UserError(
            f"{where}: {layout.answer} is {row[layout.answer]!r}: 1 or 2 is wanted, the right ending's number"
        )
    if row[layout.endings[0]] == row[layout.endings[1]]:
        raise UserError(f"{where}: both endings are {row[layout.endings[0]]!r}; correct or remove the line")
    right = int(row[layout.answer]) - 1
    return ClozeStory(row[layout.name], sentences, row[layout.endings[right]], row[layout.endings[1 - right]])
