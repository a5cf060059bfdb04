"""``inspect``: the documents of a run as its model reads them. (A script named inspect.py would hide Python's own.)"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.batches.stream import BatchStream
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.planning.prompt_runs import format_of_run, is_prompt_run, shape_of_run
from cslm.ranges import Range, check_numbers
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_view import LEGEND, num_learnt, num_noisy, sequence_lines
from cslm.training.language_model_config import FinetuneConfig, RunPaths
from cslm.training.prompt_config import TrainPromptConfig
from cslm.training.run_data import RunData, open_data, open_sequences

COLORS = ("auto", "always", "never")


@dataclass(kw_only=True)
class ShownConfig:
    """What is shown of a run's documents."""

    source: str | None = None
    """only documents of this source"""
    slot: int = 0
    """where to begin: a document slot of the training, from 0"""
    count: int = 3
    """how many documents to show"""
    progress: float | None = None
    """show the documents as they are at this share of the training, from 0 to 1, wherever their slots lie: of a
    compression what they become; null is that of the slot"""
    row: int | None = None
    """show this packed row, from 0, of the step that begins at the slot, in place of single documents"""
    full: bool = False
    """long texts and units whole, with nothing left out in the middle"""
    left_out: bool = False
    """list by name what sources leave out, or read otherwise than it stands there, and show no documents"""
    color: str = "auto"
    """always, never, or auto: on a terminal, unless the environment variable NO_COLOR is set"""

    def check_shown(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if self.color not in COLORS:
            raise UserError(f"color is {self.color!r}: choose one of {', '.join(COLORS)}")
        if self.slot < 0 or self.count < 1:
            raise UserError(f"slot is {self.slot} and count {self.count}: give 0 or more, and 1 or more")
        check_numbers(self, "", progress=Range(least=0, most=1))
        if self.row is not None and self.progress is not None:
            raise UserError("row and progress: a row holds the documents of its slots, so give one of the two")
        if self.row is not None and self.source is not None:
            raise UserError("row and source: a row holds documents of all sources, so give one of the two")


@dataclass
class InspectSequencesConfig(FinetuneConfig, ShownConfig):
    """Show documents as training sees them: ``inspect --config YAML`` of ``pretrain`` or ``finetune``."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        super().__post_init__()
        self.check_shown()


@dataclass
class InspectPromptConfig(TrainPromptConfig, ShownConfig):
    """The same of a run of ``train-prompt``."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        super().__post_init__()
        self.check_shown()


@dataclass(frozen=True)
class _Shown:
    """One document on its way into the training."""

    slot: int
    source: str
    whole: Sequence
    fitted: Sequence | None

    @property
    def sequence(self) -> Sequence:
        """As it is trained; where it is dropped, what is dropped."""
        return self.whole if self.fitted is None else self.fitted


def inspect_sequences(config: InspectSequencesConfig | InspectPromptConfig) -> Iterator[str]:
    """The lines that ``inspect`` prints. No weights are loaded, and nothing is written into the run's folder.

    Raises:
        UserError: as :func:`~cslm.training.run_data.open_data`; a source or a row that there is not.
    """
    with tempfile.TemporaryDirectory() as scratch:
        data = _open(config, Path(scratch))
    if config.left_out:
        yield from _left_out(data.stream)
        return
    terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    colour = config.color == "always" or (config.color == "auto" and terminal)
    if config.row is None:
        shown = _documents(data.stream, config)
    else:
        facts, shown = _row(data.stream, config.slot, config.row)
        yield facts
    yield LEGEND
    for document in shown:
        yield ""
        yield _facts(document, config.training.max_length)
        yield from sequence_lines(data.form, document.sequence, colour, config.full)
    yield ""
    yield from _shares([document for document in shown if document.fitted is not None])


def main(arguments: list[str]) -> None:
    """``inspect --config YAML [--source NAME] [--slot N] [--count N] [--row N] [--progress P]``"""
    config: InspectSequencesConfig | InspectPromptConfig
    if is_prompt_run(arguments, "inspect"):
        config = parse_configuration(InspectPromptConfig, arguments, "inspect")
    else:
        config = parse_configuration(InspectSequencesConfig, arguments, "inspect")
    for line in inspect_sequences(config):
        print(line)


def _open(config: InspectSequencesConfig | InspectPromptConfig, scratch: Path) -> RunData:
    if isinstance(config, InspectSequencesConfig):
        return open_data(config, scratch=scratch)
    paths = RunPaths(config)
    tokenizer, form = format_of_run(config, paths, shape_of_run(config, paths))
    return open_sequences(config, tokenizer, None, form, scratch=scratch)


def _left_out(stream: BatchStream) -> Iterator[str]:
    for name, source in stream.sources.items():
        for told in source.told:
            yield f"the source {name}: {told.what}{f': {told.count:,}' if told.count else ''}"
            yield from (f"  {one}" for one in told.names())


def _documents(stream: BatchStream, config: ShownConfig) -> list[_Shown]:
    if config.source is not None and config.source not in stream.sources:
        raise UserError(
            f"there is no source {config.source!r} to learn from: choose one of {', '.join(stream.sources)}"
        )
    shown: list[_Shown] = []
    slot = config.slot
    while len(shown) < config.count:
        if config.source in (None, stream.mixture.draw(slot)[0]):
            shown.append(_document(stream, slot, config.progress))
        slot += 1
    return shown


def _document(stream: BatchStream, slot: int, progress: float | None = None) -> _Shown:
    name, document = stream.document(slot) if progress is None else stream.document_at(slot, progress)
    return _Shown(slot, name, document, stream.fit(document, slot))


def _row(stream: BatchStream, slot: int, number: int) -> tuple[str, list[_Shown]]:
    """What is said of a row, and its documents."""
    rows = stream.packed(slot)
    if not 0 <= number < len(rows):
        raise UserError(f"row is {number}, but the step at slot {slot} has {len(rows)} rows, counted from 0")
    shown = [_document(stream, place) for place, _ in rows[number]]
    boundaries = [0]
    for document in shown:
        boundaries.append(boundaries[-1] + len(document.sequence))
    sizes, places = stream.sizes, " ".join(map(str, boundaries))
    capacity = sizes.tokens_per_micro_batch if sizes.packed else sizes.max_length
    facts = f"row {number} of {len(rows)} in the step at slot {slot}: {len(shown)} documents, "
    return f"{facts}{boundaries[-1]:,} of at most {capacity:,} ids; boundaries {places}", shown


def _facts(document: _Shown, max_length: int) -> str:
    sequence = document.sequence
    learnt, total = num_learnt(sequence), len(sequence)
    facts = f"slot {document.slot}  source {document.source}  task {sequence.task}  {total:,} ids, {learnt:,} learnt"
    facts += f" ({learnt / max(1, total):.0%})"
    if sequence.loss_weight != 1:
        facts += f", each counts {sequence.loss_weight:g} times"
    if num_noisy(sequence):
        facts += f", {num_noisy(sequence):,} read as others"
    if document.fitted is None:
        facts += f"; DROPPED: longer than max_length {max_length:,}"
    elif document.fitted is not document.whole:
        facts += f"; CUT to this window of {len(document.whole):,} ids"
    return facts


def _shares(shown: list[_Shown]) -> Iterator[str]:
    """Of what was shown, by source and modality: ids, learnt ids, and their share of the loss's weight."""
    counts: dict[tuple[str, str], list[float]] = {}
    for document in shown:
        sequence = document.sequence
        for span in sequence.spans:
            learnt = int(sequence.trained[max(1, span.start) : span.stop].sum())
            entry = counts.setdefault((document.source, span.modality), [0.0, 0.0, 0.0])
            added = (span.stop - span.start, learnt, learnt * sequence.loss_weight)
            counts[document.source, span.modality] = [a + b for a, b in zip(entry, added, strict=True)]
    total = sum(entry[2] for entry in counts.values())
    yield "of these documents:"
    yield f"{'source':<20}  {'modality':<9}{'ids':>9}{'learnt':>9}{'of the loss':>13}"
    for (source, modality), (num_ids, num_trained, weight) in counts.items():
        share = weight / total if total else 0.0
        yield f"{source:<20}  {modality:<9}{num_ids:>9,.0f}{num_trained:>9,.0f}{share:>13.1%}"
