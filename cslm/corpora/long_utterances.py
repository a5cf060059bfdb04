"""A manifest whose long utterances are cut where they are quiet, with their offsets, and their words where timed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.audio.silences import cut_at_silences
from cslm.audio.waveform import load_waveform
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio, write_manifest
from cslm.corpora.word_times import Word, word_starts
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.files.progress import progress_bar


@dataclass
class LongUtterancesConfig:
    """What to cut, and how long a piece may be."""

    manifest: str
    """Manifest with long utterances; the audio stays where it is."""
    max_sec: float = 30.0
    """Longer utterances are cut in their quietest moments into pieces no longer than this."""
    min_sec: float = 1.0
    """No piece is shorter than this, unless its utterance is."""


def prepare_long_utterances(output: Path, config: LongUtterancesConfig) -> None:
    """Write ``manifest.jsonl`` with the pieces of long utterances, and with the others as they are.

    With word times a piece has the words that are said in it, with their punctuation, and no word is cut unless there
    is no pause to cut in. Without, a text cannot be shared out: the pieces have none, and ``texts_left_out.jsonl``
    lists it. Utterances that cannot be read are listed, with reasons, in ``rejected.jsonl``.

    Raises:
        UserError: a bad manifest, lengths that make no sense, or not one utterance that can be read.
    """
    check_lengths(config.max_sec, config.min_sec)
    rejected: list[dict[str, str]] = []
    left_out: list[dict[str, str]] = []
    count = write_manifest(_cut(output, config, rejected, left_out), output / "manifest.jsonl")
    if not count:
        reason = f"; the first: {rejected[0]['reason']}" if rejected else ""
        raise UserError(f"{config.manifest}: not one utterance that can be read{reason}")
    write_json_lines(rejected, output / "rejected.jsonl")
    write_json_lines(left_out, output / "texts_left_out.jsonl")
    told = f", {len(rejected)} left out (see rejected.jsonl)" if rejected else ""
    told += f", {len(left_out)} texts without word times left out (see texts_left_out.jsonl)" if left_out else ""
    print(f"{count} utterances{told}")


def check_lengths(max_sec: float | None, min_sec: float) -> None:
    """Make sure that pieces of these lengths can be cut.

    Raises:
        UserError: they cannot.
    """
    if max_sec is not None and not max_sec >= 2 * min_sec > 0:
        raise UserError(f"--max_sec {max_sec} must be at least twice --min_sec {min_sec}")


def pieces_of(
    utterance: Utterance, waveform: NDArray[np.float32], rate_hz: int, max_sec: float, min_sec: float
) -> list[Utterance]:
    """An utterance as pieces of ``max_sec`` at most; itself where it is not longer.

    Args:
        utterance: its ``start_sec`` counts in the file, its words from there.
        waveform: of the utterance, mono ``(num_samples,)``.
        rate_hz: rate of the waveform.
        max_sec: the longest piece.
        min_sec: no piece is shorter, unless the utterance is.
    """
    if len(waveform) <= max_sec * rate_hz:
        return [utterance]
    starts = word_starts(utterance.text, utterance.words) if utterance.words else None
    spoken = [(start, end) for _, start, end in utterance.words or []]
    pieces = []
    for index, (start_sec, duration_sec) in enumerate(cut_at_silences(waveform, rate_hz, max_sec, min_sec, spoken)):
        text, words = "", None
        if starts is not None and utterance.words is not None:
            text, words = _part(utterance.text, utterance.words, starts, start_sec, duration_sec)
        changes: dict[str, Any] = {"text": text, "words": words, "duration_sec": duration_sec}
        changes |= {"id": f"{utterance.id}-{index:04d}", "start_sec": (utterance.start_sec or 0.0) + start_sec}
        changes["group"] = None  # others say the whole of it, not this
        pieces.append(dataclasses.replace(utterance, **changes))
    return pieces


def _part(
    text: str, words: Sequence[Word], starts: Sequence[int], start_sec: float, duration_sec: float
) -> tuple[str, list[Word] | None]:
    """The words whose middle lies in a piece, counted from its start, and the text from the first to the next one."""
    stop_sec = start_sec + duration_sec
    inside = [i for i, (_, begin, end) in enumerate(words) if start_sec <= (begin + end) / 2 < stop_sec]
    if not inside:
        return "", None
    first = starts[inside[0]] if inside[0] else 0
    last = starts[inside[-1] + 1] if inside[-1] + 1 < len(starts) else len(text)
    timed = [
        (word, max(begin - start_sec, 0.0), min(end - start_sec, duration_sec))
        for word, begin, end in (words[i] for i in inside)
    ]
    return text[first:last].strip(), timed


def _cut(
    output: Path, config: LongUtterancesConfig, rejected: list[dict[str, str]], left_out: list[dict[str, str]]
) -> Iterator[Utterance]:
    for utterance in progress_bar(read_manifest(config.manifest), None, "reading audio"):
        path = resolve_audio(config.manifest, utterance)
        moved = dataclasses.replace(utterance, audio=path if "://" in path else os.path.relpath(path, output))
        if utterance.duration_sec is not None and utterance.duration_sec <= config.max_sec:
            yield moved
            continue
        try:
            waveform, rate_hz = load_waveform(path, utterance.start_sec, utterance.duration_sec)
        except UserError as error:
            rejected.append({"id": utterance.id, "audio": utterance.audio, "reason": str(error)})
            continue
        pieces = pieces_of(moved, waveform, rate_hz, config.max_sec, config.min_sec)
        if utterance.text and not any(piece.text for piece in pieces):
            left_out.append({"id": utterance.id, "text": utterance.text})
        yield from pieces
