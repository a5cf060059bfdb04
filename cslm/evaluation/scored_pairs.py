"""Pairs with their speech: read, written as ids, sorted into those that can be scored and those that cannot, scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from cslm.corpora.manifest import Utterance
from cslm.evaluation.pair_folders import PairFolder, recorded_pairs
from cslm.evaluation.pair_manifest import Pair, PairManifest, read_pairs
from cslm.evaluation.pair_rows import Side, pair_row
from cslm.evaluation.score_contract import Record
from cslm.evaluation.scored_model import ScoredModel, spread
from cslm.evaluation.shared_beginnings import shared_nlls
from cslm.evaluation.spoken_sequences import Framing, spoken_ids
from cslm.evaluation.spoken_source import Spoken, encoded
from cslm.model.positions import most_positions
from cslm.sequences.sequence_format import SequenceFormat


@dataclass(frozen=True)
class PairSet:
    """The pairs of a set, and the utterances that they need."""

    pairs: list[Pair]
    spoken: dict[str, Spoken]
    missing: dict[str, str]
    """why an utterance is not there, by its name"""

    def direction(self, pair: Pair) -> str:
        """From which language to which: as the pair says, else as its utterances do."""
        if pair.direction is not None:
            return pair.direction
        names = [*pair.prefix[:1], pair.ending]
        return "-".join(self.spoken[name].language if name in self.spoken else "unknown" for name in names)

    def lacks(self, pair: Pair) -> str | None:
        """Why the pair cannot be scored; None where all that it needs is there."""
        missing = next((name for name in pair.names if name in self.missing), None)
        return None if missing is None else f"{missing}: {self.missing[missing]}"


def read_folder(scored: ScoredModel, folder: PairFolder) -> PairSet:
    """The pairs of a folder, encoded by the card of the checkpoint; the first channel of each recording, as slamkit.

    What looks odd is printed.

    Raises:
        UserError: see :func:`~cslm.evaluation.pair_folders.recorded_pairs`.
    """
    root, place = Path(scored.config.data_root), Path(folder.path)
    notes: list[str] = []
    found = [
        (kind, *(path.relative_to(root / place).as_posix() for path in (right, wrong)))
        for kind, right, wrong in recorded_pairs(folder, root, notes)
    ]
    for note in notes:
        print(note, flush=True)
    pairs = [Pair(right, kind, folder.language, (), right, wrong) for kind, right, wrong in found]
    pairs = _spread(pairs, scored.config.max_items)
    recordings = {
        name: (Utterance(name, name, "", folder.language, channel=0), root / place / name)
        for pair in pairs
        for name in pair.names
    }
    return PairSet(pairs, *encoded(scored.processor, recordings))


def read_manifest(scored: ScoredModel, manifest: PairManifest) -> PairSet:
    """The pairs of a manifest with their utterances.

    Raises:
        UserError: a manifest or a store that cannot be read.
    """
    pairs = _spread(read_pairs(scored.path(manifest.pairs), manifest.kinds), scored.config.max_items)
    wanted = dict.fromkeys(name for pair in pairs for name in pair.names)
    return PairSet(pairs, *manifest.spoken(scored, wanted.keys()))


def written_sides(form: SequenceFormat, pair: Pair, spoken: dict[str, Spoken], framing: Framing) -> tuple[Side, Side]:
    """Right and wrong side as ids."""

    def side(ending: str) -> Side:
        *prefix, last = [spoken[name] for name in (*pair.prefix, ending)]
        whole = spoken_ids(form, [*prefix, last], framing)
        return Side(whole, spoken_ids(form, [last], framing) if prefix else None)

    return side(pair.ending), side(pair.wrong_ending)


def unscorable(model: PreTrainedModel, sides: tuple[Side, Side]) -> str | None:
    """Why the sides of a pair cannot be scored; None where they can: they have positions, and something counts."""
    most = most_positions(model.config)
    longest = max(len(side.whole.ids) for side in sides)
    if most is not None and longest > most:
        return f"{longest} ids, and the model has {most} positions"
    empty = next((way for side in sides for way, counts in side.counts().items() if not counts.any()), None)
    return None if empty is None else f"too short: no id counts ({empty})"


def score_sides(
    scored: ScoredModel,
    pair_set: PairSet,
    sides: dict[str, tuple[Side, Side]],
    batch_tokens: int,
    units_alone: bool,
    description: str,
) -> list[Record]:
    """The row of each pair of ``sides`` (by id), in the order of the set.

    Args:
        units_alone: only units, and what else stands in the sequences, have a probability.
    """
    written = [ids for both in sides.values() for side in both for ids in side.sequences]
    sequences, starts = [one.ids for one in written], [one.last_start for one in written]
    allowed = _units_and(scored, sequences) if units_alone else None
    model = scored.tasks.model
    losses = iter(shared_nlls(model, sequences, starts, batch_tokens, allowed, description) if sequences else ())
    rows = []
    for pair in pair_set.pairs:
        if pair.id in sides:
            sums = [side.sums([next(losses) for _ in side.sequences]) for side in sides[pair.id]]
            rows.append(pair_row(pair, pair_set.direction(pair), *sums))
    return rows


def _units_and(scored: ScoredModel, sequences: Sequence[np.ndarray]) -> torch.Tensor:
    """Rows of the head ``(num_rows,)``: units, and the ids of these sequences."""
    rows = scored.tasks.model.get_output_embeddings().weight.shape[0]
    allowed = torch.from_numpy(scored.processor.vocabulary.is_unit(np.arange(rows)))
    allowed[torch.from_numpy(np.unique(np.concatenate(sequences)))] = True
    return allowed


def _spread(pairs: Sequence[Pair], most: int | None) -> list[Pair]:
    """At most so many pairs of each kind and direction, spread over them."""
    groups: dict[tuple[str, str | None], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.kind, pair.direction), []).append(pair)
    return [pair for group in groups.values() for pair in spread(group, most)]
