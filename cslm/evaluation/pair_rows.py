"""Pairs as their likelihoods: a row for each, from which every accuracy follows.

Each side of a pair is read in up to three ways: ``whole``, from its first id on; ``ending``, the same ids of which
only those of the ending count, given the prefix; ``ending_only``, the ending by itself, the control: what is right
there needs no prefix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cslm.evaluation.facts import wilson_interval
from cslm.evaluation.pair_manifest import Pair
from cslm.evaluation.paired_tests import clustered_mean, document_clusters
from cslm.evaluation.score_contract import Record
from cslm.evaluation.spoken_sequences import SpokenIds


class Measure(NamedTuple):
    """How a pair is decided."""

    way: str
    """``whole``, ``ending`` or ``ending_only``"""
    by_mean: bool
    """by the mean over the ids that count, or by their sum"""


MEASURES = {
    "accuracy": Measure("whole", by_mean=True),
    "sum_accuracy": Measure("whole", by_mean=False),
    "ending_accuracy": Measure("ending", by_mean=True),
    "ending_sum_accuracy": Measure("ending", by_mean=False),
    "ending_only_accuracy": Measure("ending_only", by_mean=True),
    "ending_only_sum_accuracy": Measure("ending_only", by_mean=False),
}
"""Accuracies by their names in results. Without a prefix there are the first two."""


class Side(NamedTuple):
    """One side of a pair as ids."""

    whole: SpokenIds
    """with the prefix"""
    ending_only: SpokenIds | None
    """without; None where there is no prefix"""

    @property
    def sequences(self) -> tuple[SpokenIds, ...]:
        """What the model reads."""
        return (self.whole,) if self.ending_only is None else (self.whole, self.ending_only)

    def counts(self) -> dict[str, NDArray[np.bool_]]:
        """Which ids count, by way: ``(num_ids,)`` each."""
        found = {"whole": self.whole.counted}
        if self.ending_only is not None:
            found |= {"ending": self.whole.counts_of_last(), "ending_only": self.ending_only.counted}
        return found

    def sums(self, losses: Sequence[NDArray[np.float32]]) -> dict[str, Record]:
        """By way: ``nll``, the sum of what counts, in nats, and ``ids``, of how many ids it is.

        Args:
            losses: of every id but the first, ``(num_ids - 1,)``, of each of :attr:`sequences`.
        """
        found: dict[str, Record] = {}
        for way, counts in self.counts().items():
            chosen = losses[1 if way == "ending_only" else 0][counts[1:]].tolist()
            # exactly rounded: one multiset of losses has one sum, whatever their order, and ties stay ties
            found[way] = {"nll": math.fsum(chosen), "ids": len(chosen)}
        return found


def pair_row(pair: Pair, direction: str, right: dict[str, Record], wrong: dict[str, Record]) -> Record:
    """The row of a pair, from the :meth:`Side.sums` of its sides."""
    row: Record = {"id": pair.id, "kind": pair.kind, "direction": direction, "document": pair.document}
    return row | {way: {"right": right[way], "wrong": wrong[way]} for way in right}


def won(row: Record, measure: Measure) -> float:
    """1 where the right side is likelier, 0 where the wrong one is, 0.5 where they tie."""
    sides = row[measure.way]["right"], row[measure.way]["wrong"]
    right, wrong = (side["nll"] / side["ids"] if measure.by_mean else side["nll"] for side in sides)
    return 1.0 if right < wrong else 0.0 if right > wrong else 0.5


def measures_of(rows: Iterable[Record]) -> dict[str, Measure]:
    """The measures that all rows have, by name."""
    ways = [row.keys() for row in rows]
    return {name: measure for name, measure in MEASURES.items() if all(measure.way in keys for keys in ways)}


def pair_scores(rows: Sequence[Record], num_resamples: int, generator: np.random.Generator) -> Record:
    """The entry of results.json of rows of one kind and direction.

    By measure: the accuracy, its 95 % Wilson interval under ``_interval``, and where several pairs share a document the
    bootstrap interval over documents under ``_interval_by_document``; ``ties`` by measure; ``n``; ``num_clusters``, the
    documents and the pairs that have none.
    """
    if not rows:
        return {"n": 0}
    clusters = document_clusters(rows, "id")
    scores: Record = {}
    ties: Record = {}
    for name, measure in measures_of(rows).items():
        values = [won(row, measure) for row in rows]
        scores[name] = round(sum(values) / len(values), 5)
        scores[f"{name}_interval"] = [round(end, 5) for end in wilson_interval(sum(values), len(values))]
        if clusters is not None:
            found = clustered_mean(values, clusters, None, num_resamples, generator)
            scores[f"{name}_interval_by_document"] = [round(found.low, 5), round(found.high, 5)]
        ties[name] = values.count(0.5)
    scores |= {"ties": ties, "n": len(rows)}
    return scores | ({"num_clusters": len(set(clusters))} if clusters is not None else {})
