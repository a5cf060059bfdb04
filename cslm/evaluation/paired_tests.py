"""Intervals and tests over the items of a test set: bootstrap by clusters within seeds, paired differences, McNemar.

Items that share a cluster (the pairs of one story, the questions about one person) are not independent of each other:
whole clusters are resampled, with all of their items. What several seeds gave is resampled within each seed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

NUM_RESAMPLES = 2000
_ENDS = (0.025, 0.975)
_DRAWN_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A mean over items with its 95 % bootstrap interval (percentiles).

    Where a stratum has one cluster alone, nothing varies there, and the interval says less than it seems to.
    """

    value: float
    low: float
    high: float
    by_stratum: dict[Hashable, float]
    """the mean of each stratum (seed), in the order in which they came"""

    @property
    def signs_agree(self) -> bool:
        """Whether every stratum has the sign of the whole, and none is 0."""
        return all(value * self.value > 0 for value in self.by_stratum.values())


def ratio_interval(
    sums: NDArray[Any], counts: NDArray[Any], num_resamples: int, generator: np.random.Generator
) -> tuple[float, float]:
    """The 95 % bootstrap interval over items (percentiles) of the sum of ``sums`` over that of ``counts``.

    Both are (num_items,). Counts that are drawn together and sum to less than 1 are taken for 1. A single item has no
    interval but itself.
    """
    assert len(sums) == len(counts) > 0, "items of both"

    def ratio(some: NDArray[Any], of: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(some.sum(axis=axis) / np.maximum(1, of.sum(axis=axis)), dtype=np.float64)

    if len(sums) == 1:  # scipy refuses it
        return float(ratio(sums, counts)), float(ratio(sums, counts))
    found = bootstrap(
        (sums, counts), ratio, paired=True, vectorized=True, n_resamples=num_resamples, method="percentile",
        random_state=generator,
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def clustered_mean(
    values: Seq[float],
    clusters: Seq[Hashable] | None,
    strata: Seq[Hashable] | None,
    num_resamples: int,
    generator: np.random.Generator,
) -> Interval:
    """The mean of ``values`` (num_items,) over all items, and its interval.

    Written here, for ``scipy.stats.bootstrap`` draws items: neither whole clusters nor within strata.

    Args:
        values: one or more numbers.
        clusters: of each item; None takes each item for itself. Equal names in two strata are two clusters.
        strata: of each item, such as its seed; None is one stratum.
        num_resamples: how often clusters are drawn, as many as there are, within each stratum.
        generator: draws them.
    """
    numbers = np.asarray(values, dtype=np.float64)
    assert numbers.ndim == 1 and len(numbers), "a mean of no values"
    assert num_resamples > 0, num_resamples
    sums, counts = np.zeros(num_resamples), np.zeros(num_resamples)
    by_stratum: dict[Hashable, float] = {}
    for stratum, items in _grouped(range(len(numbers)), strata).items():
        groups = list(_grouped(items, clusters).values()) if clusters is not None else [[item] for item in items]
        totals = np.array([numbers[group].sum() for group in groups])
        sizes = np.array([len(group) for group in groups], dtype=np.float64)
        by_stratum[stratum] = float(totals.sum() / sizes.sum())
        for place, drawn in _draws(len(groups), num_resamples, generator):
            sums[place] += totals[drawn].sum(axis=1)
            counts[place] += sizes[drawn].sum(axis=1)
    low, high = np.quantile(sums / counts, _ENDS)
    return Interval(float(numbers.mean()), float(low), float(high), by_stratum)


def paired_difference(
    values_a: Seq[float],
    values_b: Seq[float],
    clusters: Seq[Hashable] | None,
    strata: Seq[Hashable] | None,
    num_resamples: int,
    generator: np.random.Generator,
) -> Interval:
    """How much higher ``values_a`` are than ``values_b`` of the same items, in the same order, in the mean.

    The arguments are those of :func:`clustered_mean`; both values of an item are drawn together.
    """
    assert len(values_a) == len(values_b), "pairs of values of the same items"
    differences = np.asarray(values_a, dtype=np.float64) - np.asarray(values_b, dtype=np.float64)
    return clustered_mean(differences.tolist(), clusters, strata, num_resamples, generator)


def document_clusters(rows: Seq[Mapping[str, Any]], name: str) -> list[Hashable] | None:
    """The cluster of each row: its ``document``, or the row by itself where it has none.

    None where no two rows share one, or all do: then rows are taken for independent.

    Args:
        name: the key by which a row without a document is told from others.
    """
    clusters: list[Hashable] = [row["document"] or (name, row[name]) for row in rows]
    return clusters if 1 < len(set(clusters)) < len(rows) else None


def mcnemar_exact(values_a: Seq[float], values_b: Seq[float]) -> float:
    """McNemar's exact test, two-sided: the probability of so uneven a split of the items on which the two differ.

    It takes items for independent; where they have clusters, the interval of :func:`paired_difference` is the test.

    Args:
        values_a: what the first got for each item: 1 right, 0 wrong, 0.5 undecided.
        values_b: what the second got for the same items.
    """
    assert len(values_a) == len(values_b), "pairs of values of the same items"
    first = sum(a > b for a, b in zip(values_a, values_b, strict=True))
    differing = first + sum(a < b for a, b in zip(values_a, values_b, strict=True))
    return float(binomtest(first, differing).pvalue) if differing else 1.0


def _grouped(items: Seq[int] | range, names: Seq[Hashable] | None) -> dict[Hashable, list[int]]:
    """Items by their name, in the order in which the names come; without names, all in one group."""
    groups: dict[Hashable, list[int]] = {}
    for item in items:
        groups.setdefault(None if names is None else names[item], []).append(item)
    return groups


def _draws(
    count: int, num_resamples: int, generator: np.random.Generator
) -> Iterator[tuple[slice, NDArray[np.integer[Any]]]]:
    """For a few resamples at a time, which they are and indices ``(resamples, count)`` of what is drawn."""
    step = max(1, _DRAWN_AT_ONCE // count)
    for start in range(0, num_resamples, step):
        stop = min(num_resamples, start + step)
        yield slice(start, stop), generator.integers(0, count, size=(stop - start, count))
