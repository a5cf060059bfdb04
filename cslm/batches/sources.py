"""Sources: a unit store, a manifest or a file of text documents, with the task that makes sequences of it.

Nothing of a corpus is held in memory but a few numbers a document: stores are mapped, documents are read from their
places in the file. What a document becomes depends only on its index, the seed of the draw and the training's progress.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cslm.batches.distillation_sources import DistillationSource
from cslm.batches.document_index import IndexFolder
from cslm.batches.document_sources import DialogueSource, TextSource
from cslm.batches.imitation_sources import ImitationSource
from cslm.batches.parts import Part
from cslm.batches.recording_sources import RecordedDialogueSource, RecordingSource
from cslm.batches.source_checks import check_keys, with_length, with_tags
from cslm.batches.source_config import WHOLE, NothingLeftError, Source, SourceConfig
from cslm.batches.story_sources import SpeechSource, StorySource
from cslm.batches.utterance_sources import GroupSource, UtteranceSource
from cslm.batches.weights import is_never_drawn
from cslm.errors import UserError
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS, SourceKind

__all__ = ["IndexFolder", "Source", "SourceConfig", "open_sources"]

_SOURCES: dict[SourceKind, Callable[[str, SourceConfig, SequenceFormat, Part, IndexFolder | None], Source]] = {
    "utterances": UtteranceSource,
    "groups": GroupSource,
    "stories": StorySource,
    "joined_utterances": SpeechSource,
    "documents": TextSource,
    "spoken_documents": DialogueSource,
    "recordings": RecordingSource,
    "recorded_documents": RecordedDialogueSource,
    "targets": ImitationSource,
    "taught_recordings": DistillationSource,
}


def open_sources(
    configs: Mapping[str, SourceConfig],
    form: SequenceFormat,
    part: Part = WHOLE,
    kept_in: IndexFolder | None = None,
    joined_tokens: int | None = None,
) -> dict[str, Source]:
    """The sources of a mixture by name, or a part of their documents; those of weight 0 are left out.

    A source that has nothing in the held-out part is left out too.

    Documents are read through once; with ``kept_in`` by one process of each machine alone. Stories and speech that do
    not say to what length they are joined take ``joined_tokens``.

    Raises:
        UserError: an unknown task, a key that a task does not read, a missing store or file, a document that lacks a
            field, a source that has nothing left after its filters, or units that the vocabulary does not hold.
    """
    for name, config in configs.items():
        check_keys(name, config, form.is_textless)
    configs = {name: with_length(with_tags(name, config), joined_tokens) for name, config in configs.items()}
    _check_frames(configs)
    sources: dict[str, Source] = {}
    for name, config in configs.items():
        if is_never_drawn(config.weight):
            continue
        try:
            sources[name] = _SOURCES[TASKS[config.task].source](name, config, form, part, kept_in)
        except NothingLeftError:
            if not part.held_out:
                raise
    return sources


def _check_frames(configs: Mapping[str, SourceConfig]) -> None:
    """Make sure that all recordings of a run are waveforms, or all are frames: they stand in one row.

    Raises:
        UserError: some sources name a store of frames, and others do not.
    """
    drawn = {name: it for name, it in configs.items() if it.manifest is not None and not is_never_drawn(it.weight)}
    without = [name for name, config in drawn.items() if config.frames is None]
    if without and len(without) < len(drawn):
        raise UserError(
            f"the source {without[0]} has no frames, and others have: give the store to all that read recordings"
        )
