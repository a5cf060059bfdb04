"""A manifest whose long utterances are cut where they are quiet, with their offsets, and their words where timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.audio.silences import cut_at_silences
from cslm.audio.waveform import load_waveform
from cslm.corpora.intake import Intake, checked
from cslm.corpora.manifest import Utterance, audio_from, read_manifest, resolve_audio, write_manifest
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
    max_rejected_share: float = 1.0
    """Where a larger share cannot be read, the command ends with status 2; the others are written."""


def prepare_long_utterances(output: Path, config: LongUtterancesConfig) -> None:
    """Write ``manifest.jsonl`` with the pieces of long utterances, and with the others as they are.

    With word times a piece has the words that are said in it, with their punctuation, and no word is cut unless there
    is no pause to cut in. Without, a text cannot be shared out: the pieces have none, and ``texts_left_out.jsonl``
    lists it. Utterances that cannot be read are listed, with reasons, in ``rejected.jsonl``.

    Raises:
        UserError: a bad manifest, lengths that make no sense, or not one utterance that can be read.
    """
    check_lengths(config.max_sec, config.min_sec)
    intake = Intake()
    left_out: list[dict[str, str]] = []
    count = write_manifest(_cut(output, config, intake, left_out), output / "manifest.jsonl")
    if not count:
        reason = f"; the first: {intake.rejected[0]['reason']}" if intake.rejected else ""
        raise UserError(f"{config.manifest}: not one utterance that can be read{reason}")
    intake.num_taken = count
    intake.finish(output, config.manifest, even_empty=True)
    write_json_lines(left_out, output / "texts_left_out.jsonl")
    told = f", {len(left_out)} texts without word times left out (see texts_left_out.jsonl)" if left_out else ""
    print(f"{count} utterances{told}")


def check_lengths(max_sec: float | None, min_sec: float) -> None:
    """Make sure that pieces of these lengths can be cut.

    Raises:
        UserError: they cannot.
    """
    if max_sec is not None and not max_sec >= 2 * min_sec > 0:
        raise UserError(f"--max_sec {max_sec} must be at least twice --min_sec {min_sec}")


def pieces_of(
    utterance: Utterance,
    waveform: NDArray[np.float32],
    rate_hz: int,
    max_sec: float,
    min_sec: float,
    taken: set[str] | None = None,
) -> list[Utterance]:
    """An utterance as pieces of ``max_sec`` at most; itself where it is not longer.

    Args:
        utterance: its ``start_sec`` counts in the file, its words from there.
        waveform: of the utterance, mono ``(num_samples,)``.
        rate_hz: rate of the waveform.
        max_sec: the longest piece.
        min_sec: no piece is shorter, unless the utterance is.
        taken: ids that others have (default: none); those of the pieces are added.
    """
    if len(waveform) <= max_sec * rate_hz:
        return [utterance]
    starts = word_starts(utterance.text, utterance.words) if utterance.words else None
    spoken = [(start, end) for _, start, end in utterance.words or []]
    pieces = []
    cuts = cut_at_silences(waveform, rate_hz, max_sec, min_sec, spoken)
    ids = _ids_of_pieces(utterance.id, len(cuts), set() if taken is None else taken)
    for piece_id, (start_sec, duration_sec) in zip(ids, cuts, strict=True):
        text, words = "", None
        if starts is not None and utterance.words is not None:
            text, words = _part(utterance.text, utterance.words, starts, start_sec, duration_sec)
        changes: dict[str, Any] = {"text": text, "words": words, "duration_sec": duration_sec}
        changes |= {"id": piece_id, "start_sec": (utterance.start_sec or 0.0) + start_sec}
        changes["group"] = None  # others say the whole of it, not this
        pieces.append(dataclasses.replace(utterance, **changes))
    return pieces


def _ids_of_pieces(name: str, count: int, taken: set[str]) -> list[str]:
    """``NAME-0000``, ...; with a line under the name where somebody else is called so."""
    ids = [f"{name}-{index:04d}" for index in range(count)]
    while not taken.isdisjoint(ids):
        name += "_"
        ids = [f"{name}-{index:04d}" for index in range(count)]
    taken.update(ids)
    return ids


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
    output: Path, config: LongUtterancesConfig, intake: Intake, left_out: list[dict[str, str]]
) -> Iterator[Utterance]:
    taken = {utterance.id for utterance in read_manifest(config.manifest)}
    for utterance in progress_bar(read_manifest(config.manifest), len(taken), "reading audio"):
        path = resolve_audio(config.manifest, utterance)
        notes: list[str] = []
        try:
            moved = checked(dataclasses.replace(utterance, audio=audio_from(output, path)))
            if utterance.duration_sec is not None and utterance.duration_sec <= config.max_sec:
                yield moved
                continue
            waveform, rate_hz = load_waveform(
                path, utterance.start_sec, utterance.duration_sec, channel=utterance.channel, notes=notes
            )
        except UserError as error:
            intake.reject(utterance.id, utterance.audio, str(error))
            continue
        intake.note(utterance.id, utterance.audio, notes)
        pieces = pieces_of(moved, waveform, rate_hz, config.max_sec, config.min_sec, taken)
        if utterance.text and not any(piece.text for piece in pieces):
            left_out.append({"id": utterance.id, "text": utterance.text})
        yield from pieces
