"""Sources: a unit store or a file of text documents, with the task that makes sequences of it.

Nothing of a corpus is held in memory but a few numbers a document: stores are mapped, documents are read from their
places in the file. What a document becomes depends only on its index and the seed of the draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from cslm.batches.document_sources import TEXT_TASKS, DialogueSource, TextSource
from cslm.batches.source_config import Source, SourceConfig
from cslm.batches.unit_noise import read_with_noise
from cslm.batches.utterance_sources import CodeSwitchedSource, UtteranceSource
from cslm.errors import UserError
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.units.store import UnitStore

__all__ = ["TASKS", "Source", "SourceConfig", "open_sources"]

# Task -> the class of its source.
TASKS: dict[str, Callable[[str, SourceConfig, SequenceFormat], Source]] = {
    "asr": UtteranceSource,
    "tts": UtteranceSource,
    "interleaved": UtteranceSource,
    "code_switched": CodeSwitchedSource,
    "dialogue": DialogueSource,
    **dict.fromkeys(TEXT_TASKS, TextSource),
}


class ConfiguredSource:
    """A source whose documents are read and learnt as its configuration says: with noise, and with a weight."""

    def __init__(self, source: Source, config: SourceConfig) -> None:
        self._source, self._unit_noise, self._loss_weight = source, config.unit_noise, config.loss_weight

    @property
    def task(self) -> str:
        """What the sequences are."""
        return self._source.task

    @property
    def num_documents(self) -> int:
        """How many there are in an epoch."""
        return self._source.num_documents

    @property
    def languages(self) -> list[str]:
        """Languages of what is trained, sorted."""
        return self._source.languages

    @property
    def mean_length(self) -> float:
        """Mean number of ids of a document."""
        return self._source.mean_length

    @property
    def store(self) -> UnitStore | None:
        """The unit store, for a source that has one."""
        return self._source.store

    def sequence(self, index: int, draw_seed: int) -> Sequence:
        """The document ``index``; the seed draws the noise too."""
        document = self._source.sequence(index, draw_seed)
        if self._unit_noise:
            document = read_with_noise(document, self._unit_noise, draw_seed)
        return dataclasses.replace(document, loss_weight=self._loss_weight)


def open_sources(configs: Mapping[str, SourceConfig], form: SequenceFormat) -> dict[str, Source]:
    """The sources of a mixture by name; those of weight 0 are left out.

    Raises:
        UserError: an unknown task, a missing store or file, a document that lacks a field, a source that has nothing
            left after its filters, or units that the vocabulary does not hold.
    """
    sources: dict[str, Source] = {}
    for name, config in configs.items():
        if config.task not in TASKS:
            raise UserError(f"the source {name} has the task {config.task!r}: choose one of {', '.join(sorted(TASKS))}")
        if not 0 <= config.unit_noise < 1:
            raise UserError(f"the source {name} has unit_noise {config.unit_noise}: give 0 or more, and less than 1")
        if not 0 < config.loss_weight < float("inf"):
            raise UserError(f"the source {name} has loss_weight {config.loss_weight}: give a number above 0")
        if config.weight != 0:
            sources[name] = ConfiguredSource(TASKS[config.task](name, config, form), config)
    return sources
