"""Stories that are told and spoken, as the manifests and lists of a corpus: the village writes its own alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cslm.batches.order import name_seed
from cslm.corpora.intake import NOTED, REJECTED
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.files.json_lines import write_json_lines
from cslm.synthesis.made_records import Row
from cslm.synthesis.recordings import remove_others
from cslm.village.story_records import TEST, TRAINING

CARD, STORIES = "card.json", "stories.jsonl"
Rows = Callable[[], Iterator[Row]]
"""The rows of all stories, from the first on each time: there are too many to keep."""


def write_stories(rows: Rows, test_share: float, seed: int, output: Path, source: str) -> dict[str, Any]:
    """Write manifests, ``stories.jsonl`` and the lists of what was left out or cut; returns counts by manifest.

    Args:
        rows: of each story ``id``, ``speaker``, ``texts`` and ``audio`` (path, seconds) by language, and ``cut`` where
            it ends before its end; or ``id`` and ``reason``.
        test_share: of the stories that are tests.
        seed: draws them.
        output: folder of the corpus.
        source: what the corpus is made from, for messages.

    Raises:
        UserError: no story could be told.
    """
    write_lists(rows, output, source)
    write_records(rows, test_share, seed, output)
    counts = {}
    for name, held_out in ((TRAINING, False), (TEST, True)):
        counted = _Counted(row for row in _told(rows) if is_test(row["id"], test_share, seed) == held_out)
        write_manifest(counted, output / f"{name}.jsonl")
        counts[name] = counted.by_language
        if not counted.by_language:
            (output / f"{name}.jsonl").unlink()
            print(f"{source}: no story for {name}.jsonl: test_share is {test_share:g}")
    return counts


def write_records(rows: Rows, test_share: float, seed: int, output: Path) -> None:
    """Write ``stories.jsonl``: texts and utterances of each story by language, in order, as the village's."""
    write_json_lines((_record(row, test_share, seed) for row in _told(rows)), output / STORIES)


def remove_unheard(rows: Rows, output: Path) -> None:
    """Remove recordings of sentences that are in no story: of voices that were only heard, of stories left out."""
    remove_others(output, {path for row in _told(rows) for audio in row["audio"].values() for path, _ in audio})


def write_card(card: dict[str, Any], output: Path) -> None:
    """Write what decided a corpus, and what is in it, for who reads it or passes it on."""
    write_atomically(output / CARD, (json.dumps(card, ensure_ascii=False, indent=1) + "\n").encode())


def is_test(name: str, share: float, seed: int) -> bool:
    """Whether a story is kept for tests: drawn for each story on its own."""
    return bool(np.random.default_rng(name_seed(seed, f"test of {name}")).random() < share)


def utterance_id(language: str, story: str, place: int) -> str:
    """The id of a sentence."""
    return f"{language}-{story}-{place:03d}"


def utterances_of(row: Row) -> Iterator[Utterance]:
    """The sentences of a story, language by language."""
    for language, texts in row["texts"].items():
        for place, (text, (path, duration_sec)) in enumerate(zip(texts, row["audio"][language], strict=True)):
            yield Utterance(
                id=utterance_id(language, row["id"], place),
                audio=path,
                text=text,
                language=language,
                duration_sec=duration_sec,
                speaker=row["speaker"],
                group=f"{row['id']}-{place}",
                document=row["id"],
                place=place,
            )


class _Counted:
    """Utterances of stories, counted by language as they go by."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.by_language: dict[str, dict[str, float]] = {}

    def __iter__(self) -> Iterator[Utterance]:
        for row in self._rows:
            for utterance in utterances_of(row):
                counts = self.by_language.setdefault(utterance.language, {"num_utterances": 0, "audio_sec": 0.0})
                counts["num_utterances"] += 1
                counts["audio_sec"] = round(counts["audio_sec"] + (utterance.duration_sec or 0.0), 6)
                yield utterance


def _told(rows: Rows) -> Iterator[Row]:
    return (row for row in rows() if "reason" not in row)


def _record(row: Row, test_share: float, seed: int) -> Row:
    return {
        "id": row["id"],
        "speaker": row["speaker"],
        "held_out": is_test(row["id"], test_share, seed),
        "texts": row["texts"],
        "utterances": {
            language: [utterance_id(language, row["id"], place) for place in range(len(texts))]
            for language, texts in row["texts"].items()
        },
    }


def write_lists(rows: Rows, output: Path, source: str) -> None:
    """Write the lists of stories that are left out, and of those that end before their end; says how many.

    Raises:
        UserError: all are left out.
    """
    rejected = [{"id": row["id"], "audio": "", "reason": row["reason"]} for row in rows() if "reason" in row]
    noted = [{"id": row["id"], "audio": "", "note": f"is cut: {row['cut']}"} for row in _told(rows) if row["cut"]]
    if next(_told(rows), None) is None:
        first = f"; the first: {rejected[0]['reason']}" if rejected else ""
        raise UserError(f"{source}: not one of {len(rejected)} stories can be told{first}")
    if rejected:
        write_json_lines(rejected, output / REJECTED)
        print(f"{source}: {len(rejected)} stories left out (see {REJECTED}); the first: {rejected[0]['reason']}")
    if noted:
        write_json_lines(noted, output / NOTED)
        print(f"{source}: {len(noted)} stories end before their end (see {NOTED}); the first: {noted[0]['note']}")
