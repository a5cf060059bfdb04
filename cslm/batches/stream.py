"""The stream of batches: a pure function of (seed, position), whatever the number of processes.

A position is the next document slot. A step takes the documents of the slots from there on, as many as fit into
``tokens_per_step`` (at least one), packs them into rows, and gives every process the same number of rows. So a resume
costs the same at step 10 and at step 1,000,000, and works with another number of processes or another row length:
each step still holds the same documents.

A document that is longer than ``max_length`` is dropped, its slot passes; a document without turns (plain, interleaved,
code-switched) is cut to a window of that length at a place drawn for it. Both are counted in the step's ``notes``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cslm.batches.mixture import Mixture
from cslm.batches.order import mix, name_seed, permuted_index
from cslm.batches.packing import pack
from cslm.batches.source_config import Source
from cslm.batches.weights import Cap, Caps, CapsConfig, Weight
from cslm.errors import UserError
from cslm.sequences.sequence import MODALITIES, Sequence

_MOST_DROPPED = 1000


@dataclass(frozen=True)
class StepBatch:
    """What one process trains on in one step, and where the next step starts."""

    micro_batches: list[dict[str, torch.Tensor]]
    """rows of this process, as many as every process has"""
    num_trained: int
    """trained tokens of the step over all processes"""
    position: dict[str, Any]
    """of the next step; plain values for JSON"""
    consumed: dict[str, int]
    """tokens of the step over all processes, by source"""
    notes: dict[str, int] = field(default_factory=dict)
    """what was dropped or cut in this step, by what and where"""


def mixed_stream(
    sources: Mapping[str, Source],
    weights: Mapping[str, Weight],
    *,
    tokens_per_step: int,
    tokens_per_micro_batch: int,
    max_length: int,
    seed: int,
    pad_id: int = 0,
    total_tokens: float = 1.0,
    caps: CapsConfig | None = None,
) -> BatchStream:
    """Sources mixed by their weights.

    Args:
        sources: open, by name.
        weights: of these sources, and perhaps of others, by name.
        total_tokens: of the training that scheduled weights span.
        caps: highest shares of languages and tasks.

    Raises:
        UserError: as :class:`Mixture`, :class:`Caps` and :class:`BatchStream`.
    """
    lengths = {name: source.mean_length for name, source in sources.items()}
    cap = None if caps is None else cap_of(caps, list(sources.values()))
    mixture = Mixture({name: weights[name] for name in sources}, lengths, seed, total_tokens, cap)
    return BatchStream(sources, mixture, tokens_per_step, tokens_per_micro_batch, max_length, seed, pad_id)


def cap_of(caps: CapsConfig, sources: list[Source]) -> Cap:
    """What ``caps`` make of shares of the tokens of ``sources``.

    Raises:
        UserError: a cap on what no source has.
    """
    return Caps(caps, [source.task for source in sources], [source.language_shares for source in sources]).apply


class BatchStream:
    """Batches of a mixture of sources.

    Args:
        tokens_per_step: most tokens of a step over all processes, prompts included.
        tokens_per_micro_batch: most tokens of one row.
        max_length: longest document.

    Raises:
        UserError: lengths that contradict each other.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        mixture: Mixture,
        tokens_per_step: int,
        tokens_per_micro_batch: int,
        max_length: int,
        seed: int,
        pad_id: int = 0,
    ) -> None:
        if max_length > tokens_per_micro_batch:
            raise UserError(
                f"max_length {max_length} is above tokens_per_micro_batch {tokens_per_micro_batch}: "
                "a row must hold the longest document"
            )
        self.sources = dict(sources)
        self.mixture = mixture
        self.tokens_per_step = tokens_per_step
        self.tokens_per_micro_batch = tokens_per_micro_batch
        self.max_length = max_length
        self.seed = seed
        self.groups = _groups(self.sources)
        self._pad_id = pad_id
        self._last: tuple[int, tuple[str, Sequence]] | None = None  # what did not fit is asked for again
        self._group_index = {name: index for index, name in enumerate(self.groups)}
        self._source_seeds = {name: name_seed(seed, name) for name in self.sources}

    def document(self, slot: int) -> tuple[str, Sequence]:
        """The source's name and the document of a slot, before it is dropped or cut."""
        if self._last is not None and self._last[0] == slot:
            return self._last[1]
        name, draw = self.mixture.draw(slot)
        source, seed = self.sources[name], self._source_seeds[name]
        epoch, place = divmod(draw, source.num_documents)
        index = permuted_index(seed, epoch, place, source.num_documents)
        self._last = (slot, (name, source.sequence(index, mix(seed, draw))))
        return self._last[1]

    def step(
        self,
        position: Mapping[str, Any],
        rank: int = 0,
        world_size: int = 1,
        document: Callable[[int], tuple[str, Sequence]] | None = None,
    ) -> StepBatch:
        """The rows of process ``rank`` in the step at ``position`` (empty: the start).

        Each row is a dictionary: ``input_ids``, ``position_ids`` int64 (1, tokens), the latter from 0 in each document;
        ``cu_seqlens`` int32 (documents + 1,); ``target_positions``, ``target_ids``, ``label_group`` int64 (targets,):
        the position that predicts, the id it should predict (which noise may have changed among ``input_ids``), and
        the place in ``groups`` of what that id is; and ``target_weights`` float32 (targets,). A row without documents
        is one padding token with nothing to learn. ``document`` gives the documents of slots if they are there already.

        Raises:
            UserError: 1,000 documents in a row that are too long.
        """
        slot = int(position.get("slot", 0))
        documents, consumed, notes, next_slot = self._collect(slot, document or self.document)
        rows = self._packed(documents, world_size)[rank::world_size]
        mine = [self.row([fitted for _, fitted in row]) for row in rows]
        num_trained = sum(int(fitted.trained[1:].sum()) for _, fitted in documents)
        return StepBatch(mine, num_trained, {"slot": next_slot}, consumed, notes)

    def rows(self, slot: int = 0, world_size: int = 1) -> list[list[tuple[int, Sequence]]]:
        """The rows of the step that starts at ``slot``, of all processes: slots and their documents, fitted.

        Raises:
            UserError: as :meth:`step`.
        """
        return self._packed(self._collect(slot, self.document)[0], world_size)

    def _packed(self, documents: list[tuple[int, Sequence]], world_size: int) -> list[list[tuple[int, Sequence]]]:
        rows = pack([len(document) for _, document in documents], self.tokens_per_micro_batch, world_size)
        return [[documents[index] for index in row] for row in rows]

    def _collect(
        self, slot: int, read: Callable[[int], tuple[str, Sequence]]
    ) -> tuple[list[tuple[int, Sequence]], dict[str, int], dict[str, int], int]:
        """The documents of the step that starts at ``slot``, what they are, and the slot after them."""
        documents: list[tuple[int, Sequence]] = []
        consumed: Counter[str] = Counter()
        notes: Counter[str] = Counter()
        tokens, start = 0, slot
        while True:
            name, document = read(slot)
            fitted = self.fit(document, slot)
            if fitted is not None and documents and tokens + len(fitted) > self.tokens_per_step:
                return documents, dict(consumed), dict(notes), slot
            if fitted is not document:
                notes[f"{name}: {'dropped' if fitted is None else 'cut'}, longer than {self.max_length} tokens"] += 1
            if fitted is not None:
                documents.append((slot, fitted))
                consumed[name] += len(fitted)
                tokens += len(fitted)
            slot += 1
            if not documents and slot - start >= _MOST_DROPPED:
                raise UserError(
                    f"{_MOST_DROPPED} documents in a row are longer than max_length {self.max_length} tokens: "
                    "raise max_length"
                )

    def fit(self, document: Sequence, slot: int) -> Sequence | None:
        """The document of a slot as it is trained: whole, cut to a window drawn by the slot, or None if dropped."""
        if len(document) <= self.max_length:
            return document
        if any(span.role != "document" for span in document.spans):
            return None
        start = mix(self.seed, slot, len(document)) % (len(document) - self.max_length + 1)
        return document.window(start, start + self.max_length)

    def row(self, documents: list[Sequence]) -> dict[str, torch.Tensor]:
        """The row of these documents, see :meth:`step`."""
        lengths = [len(document) for document in documents] or [1]
        boundaries = np.concatenate(([0], np.cumsum(lengths)))
        ids = np.concatenate([document.ids for document in documents]) if documents else np.array([self._pad_id])
        read = np.concatenate([d.ids if d.read is None else d.read for d in documents]) if documents else ids
        starts = np.repeat(boundaries[:-1], lengths)
        weights = np.repeat([document.loss_weight for document in documents] or [1.0], lengths)
        targets, groups = self._targets(documents, boundaries)
        return {
            "input_ids": torch.from_numpy(read.astype(np.int64))[None],
            "position_ids": torch.from_numpy(np.arange(len(ids)) - starts)[None],
            "cu_seqlens": torch.from_numpy(boundaries.astype(np.int32)),
            "target_positions": torch.from_numpy(targets - 1),
            "target_ids": torch.from_numpy(ids[targets].astype(np.int64)),
            "target_weights": torch.from_numpy(weights[targets].astype(np.float32)),
            "label_group": torch.from_numpy(groups[targets]),
        }

    def knows(self, document: Sequence) -> bool:
        """Whether everything that is trained in the document has a group to be reported in."""
        names = (f"{document.task}/{span.modality}/{span.language}" for span in document.spans if span.trained)
        return all(name in self._group_index for name in names)

    def _targets(
        self, documents: list[Sequence], boundaries: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places of the trained ids, never the first of a document, and the group of every id of the row."""
        if not documents:
            return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
        trained = np.concatenate([document.trained for document in documents])
        trained[boundaries[:-1]] = False
        spans = [(document.task, span) for document in documents for span in document.spans]
        # A span that is not trained has no group: its language may be none of the source's.
        numbers = [
            self._group_index[f"{task}/{span.modality}/{span.language}"] if span.trained else 0 for task, span in spans
        ]
        groups = np.repeat(np.array(numbers, dtype=np.int64), [span.stop - span.start for _, span in spans])
        return np.flatnonzero(trained), groups


def _groups(sources: Mapping[str, Source]) -> list[str]:
    """Names ``task/modality/language`` of all that can be trained, the same on every process."""
    names = {
        f"{source.task}/{modality}/{language}"
        for source in sources.values()
        for modality in MODALITIES
        for language in source.languages
    }
    return sorted(names)
