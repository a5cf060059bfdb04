"""The stories of a unit store: which rows say which sentence, in which language, in the order of the telling.

A story is a ``document`` of the store, a sentence one of its places. Utterances of one document and place say the same
in different languages. So do those of one ``group``: documents in different languages whose groups are the same are
one story. An utterance with a group and no document is a story of one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cslm.batches.parts import Part, name_hash
from cslm.batches.source_config import WHOLE, Told
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.units.store import UnitStore

_MOST_LANGUAGES = 62  # a bit each

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StoryTable:
    """Stories, as places in one long list of sentences, and sentences, as places in one long list of rows."""

    story_starts: Ints
    """(stories + 1,): the first sentence of each, and how many there are"""
    sentence_starts: Ints
    """(sentences + 1,): where in ``rows`` each begins, and how many there are"""
    rows: Ints
    """(rows,): of the store, those of one sentence side by side"""
    language: Ints
    """(rows,): place in ``languages`` of each"""
    languages: list[str]
    """tags, sorted"""
    told: list[Told]
    """what of the store is left out or read otherwise than it stands there"""

    def __len__(self) -> int:
        return len(self.story_starts) - 1

    def sentences(self, story: int) -> Iterator[slice]:
        """Where in ``rows`` and ``language`` each sentence of a story is."""
        first, stop = int(self.story_starts[story]), int(self.story_starts[story + 1])
        bounds = self.sentence_starts[first : stop + 1].tolist()
        return (slice(start, end) for start, end in pairwise(bounds))

    @property
    def num_together(self) -> int:
        """Sentences that are there in two languages or more; the rows of one stand in the order of their languages."""
        if not len(self.rows):
            return 0
        return int((self.language[self.sentence_starts[:-1]] != self.language[self.sentence_starts[1:] - 1]).sum())


def story_table(store: UnitStore, keep: npt.NDArray[np.bool_], part: Part = WHOLE) -> StoryTable:
    """The stories of the rows ``keep`` (num_utterances,) that belong to a part, in the order of the store.

    A story that lacks a place is read as two, before and behind it. One with utterances at one place and in one
    language that say different things is left out.
    """
    told: list[Told] = []
    rows = np.flatnonzero(keep).astype(np.int64)
    names, document, place = _placed(store, rows, told)
    languages, language = _languages(store, rows)
    document, place = _linked(store, rows, document, place, language)
    placed = (document >= 0) & (place >= 0)
    if part.share:
        hashes = np.fromiter(map(name_hash, names), np.uint64, len(names))
        placed[placed] = part.keeps(hashes)[document[placed]]
    rows, document, place, language = (values[placed] for values in (rows, document, place, language))
    good = _without_contradictions(store, names, (rows, document, place, language), told)
    rows, document, place, language = (values[good] for values in (rows, document, place, language))
    order = _in_order(rows, document, place, language)
    rows, document, place, language = (values[order] for values in (rows, document, place, language))
    new_story = _changes(document)
    new_sentence = new_story | _changes(place)
    jump = ~new_story & (np.diff(place, prepend=place[:1]) > 1)
    if jump.any():
        cut = [names[number] for number in dict.fromkeys(document[jump].tolist())]
        told.append(Told("stories read in parts, for sentences inside are missing", len(cut), lambda: cut))
    sentence_starts = np.append(np.flatnonzero(new_sentence), len(rows))
    starts = np.flatnonzero((new_story | jump)[sentence_starts[:-1]]) if len(rows) else np.zeros(0, np.int64)
    table = StoryTable(
        np.append(starts, len(sentence_starts) - 1).astype(np.int64), sentence_starts, rows, language, languages, told
    )
    told += _missing(table, (names, document, place))
    return table


def _placed(store: UnitStore, rows: Ints, told: list[Told]) -> tuple[list[str], Ints, Ints]:
    """Names of documents, and the document and the place of each row; -1 where it belongs to none."""
    names, numbers = store.numbered("document")
    groups, group = store.numbered("group")
    document, place, group = numbers[rows], store.column("place")[rows], group[rows]
    alone = (document < 0) & (group >= 0)
    document, place = np.where(alone, group + len(names), document), np.where(alone, 0, place)
    for what, left_out in (("with a document and no place in it", (document >= 0) & (place < 0)),
                           ("with neither a document nor a group", document < 0)):  # fmt: skip
        if left_out.any():
            told.append(Told(f"utterances left out, {what}", int(left_out.sum()), partial(_ids, store, rows[left_out])))
    return names + groups, document, place


def _languages(store: UnitStore, rows: Ints) -> tuple[list[str], Ints]:
    """The tags of the languages of the rows, sorted, and the number of each row's among them.

    Raises:
        UserError: one that is no language, or too many.
    """
    names, numbers = store.numbered("language")
    numbers = numbers[rows]
    try:
        tag_of = {number: language_tag(names[number]) for number in np.unique(numbers).tolist()}
    except UserError as error:
        raise UserError(f"{store.path}: {error}; make its manifest and the store again") from None
    languages = sorted(set(tag_of.values()))
    if len(languages) > _MOST_LANGUAGES:
        raise UserError(f"{store.path}: stories in {len(languages)} languages: name at most {_MOST_LANGUAGES} of them")
    place = np.array(
        [languages.index(tag_of[number]) if number in tag_of else -1 for number in range(len(names))] + [-1]
    )
    return languages, place[numbers].astype(np.int64)


def _linked(store: UnitStore, rows: Ints, document: Ints, place: Ints, language: Ints) -> tuple[Ints, Ints]:
    """Documents and places, those of documents in other languages that have the same groups brought together.

    A document goes to that of the first rows of its groups, if that is one, which has none of its languages. A group
    without a document goes to the one that has an utterance of the group.
    """
    groups, group = store.numbered("group")
    group = group[rows]
    grouped = np.flatnonzero((group >= 0) & (document >= 0))
    if not len(grouped):
        return document, place
    alone = document[grouped] >= len(store.numbered("document")[0])
    first = np.full(len(groups), 2 * len(rows))
    np.minimum.at(first, group[grouped], np.where(alone, grouped + len(rows), grouped))
    home_row = first[group[grouped]] % len(rows)
    count = int(document.max()) + 1
    home = document[home_row]
    lowest, highest = np.full(count, count), np.full(count, -1)
    np.minimum.at(lowest, document[grouped], home)
    np.maximum.at(highest, document[grouped], home)
    spoken = np.zeros(count, np.int64)
    np.bitwise_or.at(spoken, document[document >= 0], np.left_shift(1, language[document >= 0]))
    target = np.where(lowest == highest, lowest, np.arange(count))
    target = np.where((spoken & spoken[target]) == 0, target, np.arange(count))
    target = np.where(lowest[target] == target, target, np.arange(count))
    moved = target[document[grouped]] != document[grouped]
    place = place.copy()
    place[grouped[moved]] = place[home_row[moved]]
    return np.where(document >= 0, target[document], document), place


def _without_contradictions(
    store: UnitStore, names: list[str], columns: tuple[Ints, Ints, Ints, Ints], told: list[Told]
) -> npt.NDArray[np.bool_]:
    """Which rows are of stories where one place says one thing in each language, ``(rows,)``.

    Several utterances of it are several voices.
    """
    rows, document, place, language = columns
    order = _in_order(*columns)
    same = ~(_changes(document[order]) | _changes(place[order]) | _changes(language[order]))
    if not same.any():
        return np.ones(len(rows), np.bool_)
    _, texts = store.numbered("text")
    differs = same & _changes(texts[rows[order]])
    bad = np.unique(document[order][differs]).tolist()
    if bad:
        what = "stories left out, that say two things at one place in one language"
        told.append(Told(what, len(bad), lambda: [names[number] for number in bad]))
    return ~np.isin(document, bad)


def _in_order(rows: Ints, document: Ints, place: Ints, language: Ints) -> Ints:
    """Stories in the order of the store, in them sentences by place, in these languages, in these rows."""
    if not len(rows):
        return np.zeros(0, np.int64)
    first = np.full(int(document.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, document, rows)
    order: Ints = np.lexsort((rows, language, place, first[document]))
    return order


def _changes(values: Ints) -> npt.NDArray[np.bool_]:
    """Where a value is another than the one before it; the first always."""
    changed = np.ones(len(values), np.bool_)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _missing(table: StoryTable, columns: tuple[list[str], Ints, Ints]) -> Iterator[Told]:
    """Languages that sentences lack, where there are several."""
    total = len(table.sentence_starts) - 1
    sentence = np.repeat(np.arange(total), np.diff(table.sentence_starts))
    for number, language in enumerate(table.languages):
        lacking = np.setdiff1d(np.arange(total), sentence[table.language == number])
        if len(lacking) and table.num_together:
            what = f"of {total:,} sentences not there in {language}, and said in another language"
            yield Told(what, len(lacking), partial(_places_of, table.sentence_starts[lacking], *columns))


def _places_of(rows: Ints, names: list[str], document: Ints, place: Ints) -> Iterator[str]:
    """Story and place of rows of the table."""
    return (f"{names[document[row]]} {place[row]}" for row in rows.tolist())


def _ids(store: UnitStore, rows: Ints) -> Iterator[str]:
    return (store.row(row, with_words=False).id for row in rows.tolist())
