"""What a corpus takes in: good utterances go on to the manifest, bad ones are kept out, counted and listed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines, write_json_lines

REJECTED = "rejected.jsonl"
NOTED = "noted.jsonl"
MAX_REJECTED_SHARE = 0.05
"""Where more than this share of a corpus is kept out, something is wrong with the corpus, or with its options."""


class Intake:
    """Takes utterances one by one."""

    def __init__(self, unit: str = "utterances") -> None:
        self.unit = unit
        self.num_taken = 0
        self.rejected: list[dict[str, str]] = []
        self.noted: list[dict[str, str]] = []
        self._places: dict[str, str] = {}

    def take(self, make: Callable[[], Utterance], name: str, audio: str, where: str) -> Utterance | None:
        """The utterance that ``make`` makes, checked; None where it cannot be used, which is then on the list.

        Args:
            make: makes the utterance, or says in a ``UserError`` why there is none.
            name: what to list it as, and its audio, where there is none.
            audio: the same.
            where: file and line, for an id that stands in two.

        Raises:
            UserError: the id was taken before: which of the two is meant, nobody can tell.
        """
        try:
            utterance = checked(make())
        except UserError as error:
            self.reject(name, audio, str(error))
            return None
        if utterance.id in self._places:
            before = self._places[utterance.id]
            line = before.removeprefix(where.rpartition(", ")[0] + ", ")
            raise UserError(f"{where}: the id {utterance.id!r} stands in {line} too")
        self._places[utterance.id] = where
        self.num_taken += 1
        return utterance

    def place_of(self, name: str) -> str | None:
        """File and line of an id that was taken."""
        return self._places.get(name)

    def reject(self, name: str, audio: str, reason: str) -> None:
        """Put what cannot be used on the list."""
        self.rejected.append({"id": printable(name), "audio": printable(audio), "reason": printable(reason)})

    def note(self, name: str, audio: str, notes: list[str]) -> None:
        """Put what was odd about a file that is used on another list."""
        self.noted += [{"id": printable(name), "audio": printable(audio), "note": printable(note)} for note in notes]

    def finish(self, output: Path, source: str, even_empty: bool = False) -> None:
        """Write the lists of which there is something to say, and tell how long they are.

        Args:
            output: folder of the corpus.
            source: what the corpus is made from.
            even_empty: write the list of the rejected even where nothing is.

        Raises:
            UserError: nothing could be used.
        """
        if not self.num_taken:
            first = f"; the first: {self.rejected[0]['reason']}" if self.rejected else ""
            raise UserError(f"{source}: not one of {len(self.rejected)} {self.unit} can be read{first}")
        if self.rejected or even_empty:
            write_json_lines(self.rejected, output / REJECTED)
        if self.rejected:
            told = f"{len(self.rejected)} {self.unit} left out (see {REJECTED})"
            print(f"{source}: {told}; {self.rejected[0]['id']}: {self.rejected[0]['reason']}")
        if self.noted:
            write_json_lines(self.noted, output / NOTED)
            told = f"{len(self.noted)} headers are wrong (see {NOTED})"
            print(f"{source}: {told}; {self.noted[0]['id']}: {self.noted[0]['note']}")


def checked(utterance: Utterance) -> Utterance:
    """The utterance with its language in the one form, if a manifest can hold it.

    Raises:
        UserError: it cannot, and why.
    """
    for name in ("id", "audio", "text", "language", "speaker", "group", "document"):
        value = getattr(utterance, name)
        if value is not None and (not isinstance(value, str) or printable(value) != value):
            found = f"{type(value).__name__}, not text" if not isinstance(value, str) else "half of a Unicode character"
            raise UserError(f"{'its ' if name != 'id' else 'the '}{name} holds {found}: {printable(repr(value))[:80]}")
    for name in ("id", "audio"):
        if not getattr(utterance, name).strip():
            raise UserError(f"{name} is empty")
    for name in ("start_sec", "duration_sec"):
        seconds = getattr(utterance, name)
        if seconds is not None and not 0 <= seconds < math.inf:
            raise UserError(f"{name} is {seconds}: a number of seconds from 0 on is wanted")
    for word, start_sec, end_sec in utterance.words or []:
        if not 0 <= start_sec <= end_sec < math.inf:
            raise UserError(f"its word {printable(repr(word))[:40]} goes from {start_sec:g} to {end_sec:g} s")
    if utterance.channel is not None and utterance.channel < 0:
        raise UserError(f"channel is {utterance.channel}: a number from 0 on is wanted")
    return dataclasses.replace(utterance, language=language_tag(utterance.language))


def printable(text: str) -> str:
    """The text, with what is no whole character (a byte of a file name, half an emoji) written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def check_rejected_share(folder: Path, most: float, listed: str = "manifest.jsonl") -> None:
    """Tell a corpus that is there, but of which too much was kept out.

    Args:
        folder: of the corpus.
        most: the share of all that may be on the list of the rejected.
        listed: the file that lists what was taken, a row each.

    Raises:
        UserError: more of it is.
    """
    rejected = [row for _, row in read_json_lines(folder / REJECTED)] if (folder / REJECTED).is_file() else []
    if not rejected:
        return
    num_taken = sum(1 for _ in read_json_lines(folder / listed))
    share = len(rejected) / (len(rejected) + num_taken)
    if share > most:
        unit = "utterances" if listed == "manifest.jsonl" else Path(listed).stem
        raise UserError(
            f"{folder}: is made, with {num_taken} {unit}, but {len(rejected)} were left out ({share:.1%}, see "
            f"{REJECTED}; the first: {rejected[0]['reason']}): mend them, or allow it with --max_rejected_share"
        )
