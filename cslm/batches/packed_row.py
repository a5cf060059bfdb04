"""A packed row: documents one after another as the tensors that a causal language model learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cslm.sequences.sequence import PlacedClip
from cslm.sequences.sequence import Sequence as Document


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a row, from which the vectors of its audio spans come, padded with zeros to the longest."""

    values: Tensor
    """float32 (clips, longest): waveforms; or (clips, longest, dims): features"""
    lengths: Tensor
    """int64 (clips,): samples or frames of each"""
    places: Tensor
    """int64 (clips, 2): the positions of the row that each fills, from the first up to, and without, the second"""
    languages: tuple[str, ...]
    """of each, as its span has it"""

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> Clips:
        """The same on a device."""
        values, lengths, places = (it.to(device, non_blocking=True) for it in (self.values, self.lengths, self.places))
        return Clips(values, lengths, places, self.languages)


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
        """What a term may be a mean over: ``targets`` and ``clips``."""
        return {"targets": self.num_targets, "clips": 0 if self.clips is None else len(self.clips)}

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
    )


def count_all(documents: Sequence[Document]) -> dict[str, int]:
    """The counts of all rows that these documents are packed into, however they are."""
    return {
        "targets": sum(int(document.trained[1:].sum()) for document in documents),
        "clips": sum(len(document.clips) for document in documents),
    }


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
    values = [torch.from_numpy(np.ascontiguousarray(clip.clip.read(), dtype=np.float32)) for _, clip in placed]
    return Clips(
        values=pad_sequence(values, batch_first=True),
        lengths=torch.tensor([len(value) for value in values]),
        places=torch.tensor([[start + clip.start, start + clip.stop] for start, clip in placed]),
        languages=tuple(clip.language for _, clip in placed),
    )
