"""Sources: a unit store or a file of text documents, with the task that makes sequences of it.

Nothing of a corpus is held in memory but a few numbers a document: stores are mapped, documents are read from their
places in the file. What a document becomes depends only on its index and the seed of the draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cslm.batches.document_index import IndexFolder
from cslm.batches.document_sources import TEXT_TASKS, DialogueSource, TextSource
from cslm.batches.parts import Part
from cslm.batches.source_config import WHOLE, NothingLeftError, Source, SourceConfig
from cslm.batches.utterance_sources import CodeSwitchedSource, UtteranceSource
from cslm.batches.weights import is_never_drawn
from cslm.errors import UserError
from cslm.sequences.sequence_format import SequenceFormat

__all__ = ["TASKS", "IndexFolder", "Source", "SourceConfig", "open_sources"]

# Task -> the class of its source.
TASKS: dict[str, Callable[..., Source]] = {
    "asr": UtteranceSource,
    "tts": UtteranceSource,
    "interleaved": UtteranceSource,
    "code_switched": CodeSwitchedSource,
    "dialogue": DialogueSource,
    **dict.fromkeys(TEXT_TASKS, TextSource),
}
DOCUMENT_TASKS = ("dialogue", *TEXT_TASKS)


def open_sources(
    configs: Mapping[str, SourceConfig],
    form: SequenceFormat,
    part: Part = WHOLE,
    kept_in: IndexFolder | None = None,
) -> dict[str, Source]:
    """The sources of a mixture by name, or a part of their documents; those of weight 0 are left out.

    A source that has nothing in the held-out part is left out too.

    Documents are read through once; with ``kept_in`` by one process of each machine alone.

    Raises:
        UserError: an unknown task, a missing store or file, a document that lacks a field, a source that has nothing
            left after its filters, or units that the vocabulary does not hold.
    """
    sources: dict[str, Source] = {}
    for name, config in configs.items():
        if config.task not in TASKS:
            raise UserError(f"the source {name} has the task {config.task!r}: choose one of {', '.join(sorted(TASKS))}")
        if is_never_drawn(config.weight):
            continue
        kept = {"kept_in": kept_in} if config.task in DOCUMENT_TASKS else {}
        try:
            sources[name] = TASKS[config.task](name, config, form, part, **kept)
        except NothingLeftError:
            if not part.held_out:
                raise
    return sources
