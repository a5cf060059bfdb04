"""A packed row: documents one after another as the tensors that a causal language model learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cslm.sequences.sequence import COUNTS_OF_CLIPS, ClipWithMore, PlacedClip
from cslm.sequences.sequence import Sequence as Document


class Padded(NamedTuple):
    """Arrays of several lengths, padded with zeros to the longest."""

    values: Tensor
    """(clips, longest, ...)"""
    lengths: Tensor
    """int64 (clips,)"""


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a row, from which the vectors of its audio spans come, padded with zeros to the longest."""

    values: Tensor
    """float32 (clips, longest): waveforms; or (clips, longest, dims): features"""
    lengths: Tensor
    """int64 (clips,): samples or frames of each"""
    places: Tensor
    """int64 (spans, 2): the positions of the row that each audio span fills, from the first up to, and without, the
    second"""
    languages: tuple[str, ...]
    """of each clip, as its first span has it"""
    owners: Tensor
    """int64 (spans,): the clip of each span"""
    firsts: Tensor
    """int64 (spans,): which of the clip's vectors the first place of each span takes"""
    more: Mapping[str, Padded] = field(default_factory=dict)
    """what else the clips bring, by name, a row a clip"""

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> Clips:
        """The same on a device."""
        tensors = (self.values, self.lengths, self.places, self.owners, self.firsts)
        values, lengths, places, owners, firsts = (it.to(device, non_blocking=True) for it in tensors)
        more = {name: Padded(*(it.to(device, non_blocking=True) for it in found)) for name, found in self.more.items()}
        return Clips(values, lengths, places, self.languages, owners, firsts, more)


@dataclass(frozen=True, eq=False)
class PackedRow:
    """The micro-batch of a causal language model. A row without documents is one padding token, nothing to learn."""

    input_ids: Tensor
    """int64 (1, tokens): what is read"""
    position_ids: Tensor
    """int64 (1, tokens): from 0 in each document"""
    boundaries: tuple[int, ...]
    """where each document begins, and the number of tokens: ``documents + 1`` numbers, read on the CPU"""
    target_positions: Tensor
    """int64 (targets,): the positions that predict"""
    target_ids: Tensor
    """int64 (targets,): what each should predict, which noise may have changed among ``input_ids``"""
    target_weights: Tensor
    """float32 (targets,): how often each counts in the loss"""
    target_groups: Tensor
    """int64 (targets,): the group that the loss of each is reported in"""
    clips: Clips | None = None
    """what fills the audio spans, where there are any"""
    clip_counts: Mapping[str, int] = field(default_factory=dict)
    """how much the clips have of what a loss is a mean over; a name that is not there is 0"""

    @property
    def num_slots(self) -> int:
        """Tokens of the row."""
        return self.input_ids.numel()

    @property
    def num_targets(self) -> int:
        """Tokens that are learnt."""
        return len(self.target_ids)

    @property
    def document_lengths(self) -> list[int]:
        """Tokens of each document, in the order of the row."""
        return [stop - start for start, stop in pairwise(self.boundaries)]

    def counts(self) -> dict[str, int]:
        """What a term may be a mean over: ``targets``, ``clips``, and what clips have."""
        brought = {name: self.clip_counts.get(name, 0) for name in COUNTS_OF_CLIPS}
        return {"targets": self.num_targets, "clips": 0 if self.clips is None else len(self.clips), **brought}

    def to(self, device: torch.device) -> PackedRow:
        """The same on a device; boundaries stay."""
        return PackedRow(
            input_ids=self.input_ids.to(device, non_blocking=True),
            position_ids=self.position_ids.to(device, non_blocking=True),
            boundaries=self.boundaries,
            target_positions=self.target_positions.to(device, non_blocking=True),
            target_ids=self.target_ids.to(device, non_blocking=True),
            target_weights=self.target_weights.to(device, non_blocking=True),
            target_groups=self.target_groups.to(device, non_blocking=True),
            clips=None if self.clips is None else self.clips.to(device),
            clip_counts=self.clip_counts,
        )


def packed_row(documents: Sequence[Document], groups: Mapping[str, int], pad_id: int = 0) -> PackedRow:
    """The row of these documents; clips are read here.

    Args:
        groups: numbers of the groups ``task/modality/language`` of all that is trained.
        pad_id: the only token of a row without documents.
    """
    lengths = [len(document) for document in documents] or [1]
    boundaries = np.concatenate(([0], np.cumsum(lengths)))
    ids = np.concatenate([document.ids for document in documents]) if documents else np.array([pad_id])
    read = np.concatenate([d.ids if d.read is None else d.read for d in documents]) if documents else ids
    starts = np.repeat(boundaries[:-1], lengths)
    weights = np.repeat([document.loss_weight for document in documents] or [1.0], lengths)
    targets, numbers = _targets(documents, boundaries, groups)
    return PackedRow(
        input_ids=torch.from_numpy(read.astype(np.int64))[None],
        position_ids=torch.from_numpy(np.arange(len(ids)) - starts)[None],
        boundaries=tuple(boundaries.tolist()),
        target_positions=torch.from_numpy(targets - 1),
        target_ids=torch.from_numpy(ids[targets].astype(np.int64)),
        target_weights=torch.from_numpy(weights[targets].astype(np.float32)),
        target_groups=torch.from_numpy(numbers[targets]),
        clips=_clips(documents, boundaries.tolist()),
        clip_counts=_clip_counts(documents),
    )


def count_all(documents: Sequence[Document]) -> dict[str, int]:
    """The counts of all rows that these documents are packed into, however they are."""
    return {
        "targets": sum(int(document.trained[1:].sum()) for document in documents),
        "clips": sum(len({id(clip.clip) for clip in document.clips}) for document in documents),
        **_clip_counts(documents),
    }


def _clip_counts(documents: Sequence[Document]) -> dict[str, int]:
    """What the clips have of what a loss is a mean over; one that is placed twice counts once."""
    clips = {id(placed.clip): placed.clip for document in documents for placed in document.clips}
    found = [clip.counts() for clip in clips.values() if isinstance(clip, ClipWithMore)]
    return {name: sum(counts.get(name, 0) for counts in found) for name in COUNTS_OF_CLIPS}


def _targets(
    documents: Sequence[Document], boundaries: npt.NDArray[np.int64], groups: Mapping[str, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places of the trained ids, never the first of a document, and the group of every id of the row."""
    if not documents:
        return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    trained = np.concatenate([document.trained for document in documents])
    trained[boundaries[:-1]] = False
    spans = [(document.task, span) for document in documents for span in document.spans]
    # A span that is not trained has no group: its language may be none of the source's.
    numbers = [groups[f"{task}/{span.modality}/{span.language}"] if span.trained else 0 for task, span in spans]
    lengths = [span.stop - span.start for _, span in spans]
    return np.flatnonzero(trained), np.repeat(np.array(numbers, dtype=np.int64), lengths)


def _clips(documents: Sequence[Document], starts: Sequence[int]) -> Clips | None:
    placed: list[tuple[int, PlacedClip]] = [
        (start, clip) for document, start in zip(documents, starts, strict=False) for clip in document.clips
    ]
    if not placed:
        return None
    # Two spans of one clip are the same object: it is read, and its vectors are made, once.
    rows: dict[int, tuple[int, PlacedClip]] = {}
    for _, clip in placed:
        rows.setdefault(id(clip.clip), (len(rows), clip))
    own = [clip for _, clip in rows.values()]
    more = [clip.clip.more() if isinstance(clip.clip, ClipWithMore) else {} for clip in own]
    empty = {name: array[:0] for found in more for name, array in found.items()}
    values, lengths = _padded([clip.clip.read().astype(np.float32, copy=False) for clip in own])
    return Clips(
        values=values,
        lengths=lengths,
        places=torch.tensor([[start + clip.start, start + clip.stop] for start, clip in placed]),
        languages=tuple(clip.language for clip in own),
        owners=torch.tensor([rows[id(clip.clip)][0] for _, clip in placed]),
        firsts=torch.tensor([clip.first for _, clip in placed]),
        more={name: _padded([found.get(name, nothing) for found in more]) for name, nothing in empty.items()},
    )


def _padded(arrays: Sequence[npt.NDArray[Any]]) -> Padded:
    values = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return Padded(pad_sequence(values, batch_first=True), torch.tensor([len(value) for value in values]))
