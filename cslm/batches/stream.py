"""The stream of batches: a pure function of (seed, position), whatever the number of processes.

A position is the next document slot. A step takes the documents of the slots from there on, as many as fit into
``tokens_per_step`` (at least one), packs them into rows, and gives every process the same number of rows. So a resume
costs the same at step 10 and at step 1,000,000, and works with another number of processes or another row length:
each step still holds the same documents.

A document that is longer than ``max_length`` is dropped, its slot passes; a document without turns (plain, interleaved,
code-switched) is cut to a window of that length at a place drawn for it. Both are counted in the step's ``notes``.

A document may hang on the share of the training that lies before its slot: that is a function of the slot too.

Where sources or languages take turns (:mod:`~cslm.batches.turns`), a position says where each of them is, and a step
takes the slots of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from cslm.batches.accounts import account_name
from cslm.batches.micro_batch import StepBatch
from cslm.batches.mixture import Mixture
from cslm.batches.order import mix, name_seed, permuted_draw
from cslm.batches.packed_row import PackedRow, count_all, packed_row
from cslm.batches.packing import one_each, pack
from cslm.batches.source_config import JoiningSource, Source, shortening
from cslm.batches.turns import Turns, turn_groups
from cslm.batches.weights import Cap, Caps, CapsConfig, Weight
from cslm.errors import UserError
from cslm.sequences.sequence import LEARNT_MODALITIES
from cslm.sequences.sequence import Sequence as Document

_MOST_DROPPED = 1000


@dataclass(frozen=True)
class BatchSizes:
    """How many tokens stand together.

    Raises:
        UserError: lengths that contradict each other.
    """

    tokens_per_step: int
    """most tokens of a step over all processes, prompts included"""
    tokens_per_micro_batch: int
    """most tokens of one row"""
    max_length: int
    """longest document"""
    packed: bool = True
    """whether a row holds as many documents as fit, or one"""

    def __post_init__(self) -> None:
        """Check what types cannot."""
        if self.max_length > self.tokens_per_micro_batch:
            raise UserError(
                f"max_length {self.max_length} is above tokens_per_micro_batch {self.tokens_per_micro_batch}: "
                "a row must hold the longest document"
            )


def mixture_of(
    sources: Mapping[str, Source],
    weights: Mapping[str, Weight],
    seed: int,
    total_tokens: float = 1.0,
    caps: CapsConfig | None = None,
) -> Mixture:
    """Sources mixed by their weights.

    Args:
        sources: open, by name.
        weights: of these sources, and perhaps of others, by name.
        total_tokens: of the training that scheduled weights and progress span.
        caps: highest shares of languages and tasks.

    Raises:
        UserError: as :class:`Mixture` and :class:`Caps`.
    """
    lengths = {name: source.mean_length for name, source in sources.items()}
    cap = None if caps is None else cap_of(caps, list(sources.values()))
    curves = {name: source.length_curve() for name, (source, _) in shortening(sources).items()}
    return Mixture({name: weights[name] for name in sources}, lengths, seed, total_tokens, cap, curves)


def cap_of(caps: CapsConfig, sources: list[Source]) -> Cap:
    """What ``caps`` make of shares of the tokens of ``sources``.

    Raises:
        UserError: a cap on what no source has.
    """
    return Caps(caps, [source.task for source in sources], [source.language_shares for source in sources]).apply


class BatchStream:
    """Batches of a mixture of ``sources``, by name; a row without documents is one token ``pad_id``."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        mixture: Mixture,
        sizes: BatchSizes,
        seed: int,
        pad_id: int = 0,
        alternate: str | None = None,
    ) -> None:
        """Give no batch yet.

        Args:
            alternate: what takes turns from step to step, one of :data:`~cslm.batches.turns.ALTERNATIONS`; None mixes
                all sources in every step.

        Raises:
            UserError: as :func:`~cslm.batches.turns.turn_groups`.
        """
        self.sources = dict(sources)
        self.mixture = mixture
        self.sizes = sizes
        self.seed = seed
        self.groups = _groups(self.sources)
        self._pad_id = pad_id
        groups = None if alternate is None else turn_groups(self.sources, alternate)
        self._turns = None if groups is None else Turns(mixture, groups, sizes.tokens_per_step)
        self._last: tuple[int, tuple[str, Document]] | None = None  # what did not fit is asked for again
        self._group_index = {name: index for index, name in enumerate(self.groups)}
        self._source_seeds = {name: name_seed(seed, name) for name in self.sources}

    def document(self, slot: int) -> tuple[str, Document]:
        """The source's name and the document of a slot, before it is dropped or cut."""
        if self._last is None or self._last[0] != slot:
            self._last = (slot, self.document_at(slot, self.mixture.progress_at(slot)))
        return self._last[1]

    def document_at(self, slot: int, progress: float) -> tuple[str, Document]:
        """The same, as it would be at another share of the training."""
        name, draw = self.mixture.draw(slot)
        source, seed = self.sources[name], self._source_seeds[name]
        if isinstance(source, JoiningSource):
            return name, source.drawn(draw, seed, progress)
        return name, source.sequence(permuted_draw(seed, draw, source.num_documents), mix(seed, draw), progress)

    def phase(self, position: Mapping[str, Any]) -> tuple[int, ...]:
        """How far the compressions that reset the optimizer are at a position; what resets hangs on it alone."""
        progress = self.mixture.progress_at(int(position.get("slot", 0)))
        found = shortening(self.sources).values()
        return tuple(it.count(progress) for _, it in found if it.config.reset_optimizer)

    def step(
        self,
        position: Mapping[str, Any],
        rank: int = 0,
        world_size: int = 1,
        document: Callable[[int], tuple[str, Document]] | None = None,
    ) -> StepBatch:
        """The rows of process ``rank`` in the step at ``position`` (empty: the start).

        Its micro-batches are :class:`PackedRow`. ``document`` gives the documents of slots if they are there already.

        Raises:
            UserError: 1,000 documents in a row that are too long.
        """
        found = self._collect(position, document or self.document)
        packed = self._pack(found.documents, world_size)[rank::world_size]
        rows = [self.row([fitted for _, fitted in row]) for row in packed]
        counts = count_all([fitted for _, fitted in found.documents])
        return StepBatch(
            rows, found.position, dict(found.consumed), counts, dict(found.notes), dict(self._accounts(found.documents))
        )

    def packed(self, slot: int = 0, world_size: int = 1) -> list[list[tuple[int, Document]]]:
        """What each row holds in the step that starts at ``slot``, of all processes: slots and documents, fitted.

        Raises:
            UserError: as :meth:`step`.
        """
        return self._pack(self._collect({"slot": slot}, self.document).documents, world_size)

    def _pack(self, documents: list[tuple[int, Document]], world_size: int) -> list[list[tuple[int, Document]]]:
        rows = self.arranged([len(document) for _, document in documents], world_size)
        return [[documents[index] for index in row] for row in rows]

    def arranged(self, lengths: Sequence[int], world_size: int = 1) -> list[list[int]]:
        """Which documents, by their number, stand in which row; as many rows for every process."""
        if not self.sizes.packed:
            return one_each(lengths, world_size)
        return pack(lengths, self.sizes.tokens_per_micro_batch, world_size)

    def _collect(self, position: Mapping[str, Any], read: Callable[[int], tuple[str, Document]]) -> _Collected:
        """The documents of the step at a position, what they are, and the position after them."""
        turns, found = self._turns, _Collected()
        turn = None if turns is None else turns.turn(position)
        slots = count(int(position.get("slot", 0))) if turns is None or turn is None else turns.slots(turn)
        tokens, passed, slot = 0, 0, 0
        for passed, slot in enumerate(slots, start=1):
            name, document = read(slot)
            fitted = self.fit(document, slot)
            if fitted is not None and found.documents and tokens + len(fitted) > self.sizes.tokens_per_step:
                break
            if fitted is not document:
                how = "dropped" if fitted is None else "cut"
                found.notes[f"{name}: {how}, longer than {self.sizes.max_length} tokens"] += 1
            if fitted is not None:
                found.documents.append((slot, fitted))
                found.consumed[name] += len(fitted)
                tokens += len(fitted)
            if not found.documents and passed >= _MOST_DROPPED:
                raise self._all_too_long(passed)
        else:
            slot += 1
            if not found.documents:
                raise self._all_too_long(passed)
        found.position = {"slot": slot} if turns is None or turn is None else turns.after(turn, slot)
        return found

    def _all_too_long(self, count: int) -> UserError:
        longest = f"max_length {self.sizes.max_length} tokens"
        return UserError(f"{count} documents in a row are longer than {longest}: raise max_length")

    def _accounts(self, documents: Sequence[tuple[int, Document]]) -> Counter[str]:
        """Tokens of these documents by language, and by stage of the training where it has several."""
        accounts: Counter[str] = Counter()
        staged = len(self.mixture.stage_starts) > 1
        for slot, document in documents:
            stage = self.mixture.stage_at(slot) if staged else None
            for span in document.spans:
                accounts[account_name(span.language, stage)] += span.stop - span.start
        return accounts

    def fit(self, document: Document, slot: int) -> Document | None:
        """The document of a slot as it is trained: whole, cut to a window drawn by the slot, or None if dropped.

        A window that would split a clip is dropped.
        """
        if len(document) <= self.sizes.max_length:
            return document
        if any(span.role != "document" for span in document.spans):
            return None
        start = mix(self.seed, slot, len(document)) % (len(document) - self.sizes.max_length + 1)
        stop = start + self.sizes.max_length
        return None if document.splits_audio(start, stop) else document.window(start, stop)

    def row(self, documents: Sequence[Document]) -> PackedRow:
        """The row of these documents."""
        return packed_row(documents, self._group_index, self._pad_id)

    def knows(self, document: Document) -> bool:
        """Whether everything that is trained in the document has a group to be reported in."""
        names = (f"{document.task}/{span.modality}/{span.language}" for span in document.spans if span.trained)
        return all(name in self._group_index for name in names)


@dataclass
class _Collected:
    """The documents of a step, before they are packed."""

    documents: list[tuple[int, Document]] = field(default_factory=list)
    """slots and documents, fitted"""
    consumed: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    position: dict[str, Any] = field(default_factory=dict)
    """where the next step starts"""


def _groups(sources: Mapping[str, Source]) -> list[str]:
    """Names ``task/modality/language`` of all that can be trained, the same on every process."""
    names = {
        f"{source.task}/{modality}/{language}"
        for source in sources.values()
        for modality in LEARNT_MODALITIES
        for language in source.languages
    }
    return sorted(names)
