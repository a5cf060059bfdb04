"""Figures of a claim: a number with its interval and its bar, computed from rows and from nothing else.

Differences are paired item by item. Their 95 % intervals resample clusters (stories, a person's attribute) within
seeds, and a bar is met only where the sign agrees on all seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cslm.benchmarks.claims.rows import Row
from cslm.evaluation.paired_tests import NUM_RESAMPLES, Interval, clustered_mean, paired_difference

_SEED = 20251202


@dataclass(frozen=True)
class Figure:
    """One number of a claim."""

    name: str
    value: float
    interval: tuple[float, float] | None
    """95 %; None where there is nothing to resample"""
    bar: str
    """what it is held to, in words; empty for a figure that stands beside"""
    met: bool | None
    """None for a figure without a bar"""


class Rows:
    """The rows of a claim, found by metric and arm."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._values: dict[tuple[str, str], dict[tuple[int, str], Row]] = {}
        for row in rows:
            found = self._values.setdefault((row.metric, row.arm), {})
            assert (row.seed, row.item) not in found, f"{row} stands twice"
            found[row.seed, row.item] = row

    def has(self, metric: str, arm: str) -> bool:
        """Whether the arm has values of a metric."""
        return (metric, arm) in self._values

    def of(self, metric: str, arm: str) -> list[Row]:
        """The values of an arm, by seed and item."""
        found = self._values.get((metric, arm), {})
        return [found[key] for key in sorted(found)]

    def shared(self, metric: str, arms: Sequence[str]) -> list[list[Row]]:
        """The values of several arms for the items that all of them have, in one order."""
        found = [self._values.get((metric, arm), {}) for arm in arms]
        keys = sorted(set(found[0]).intersection(*found[1:]))
        return [[values[key] for key in keys] for values in found]


def mean(rows: Rows, metric: str, arm: str) -> Interval:
    """The mean of a metric over all items and seeds of an arm."""
    found = rows.of(metric, arm)
    return clustered_mean(
        [row.value for row in found], [row.cluster for row in found], [row.seed for row in found], NUM_RESAMPLES,
        np.random.default_rng(_SEED),
    )  # fmt: skip


def difference(rows: Rows, metric: str, arm: str, against: str) -> Interval:
    """How much higher an arm is than another on the items that both have."""
    ours, theirs = rows.shared(metric, (arm, against))
    return paired_difference(
        [row.value for row in ours], [row.value for row in theirs], [row.cluster for row in ours],
        [row.seed for row in ours], NUM_RESAMPLES, np.random.default_rng(_SEED),
    )  # fmt: skip


def shown(name: str, interval: Interval) -> Figure:
    """A figure that stands beside the ones with a bar."""
    return Figure(name, interval.value, (interval.low, interval.high), "", None)


def gain_figure(name: str, rows: Rows, metric: str, arm: str, against: str, least: float) -> Figure:
    """A gain of at least ``least``: the difference reaches it, its lower end is above 0, and so on every seed."""
    gain = difference(rows, metric, arm, against)
    met = gain.value >= least and gain.low > 0 and gain.signs_agree
    return Figure(name, gain.value, (gain.low, gain.high), f"{least:+.3g} or more, lower end above 0", met)


def relative_gain_figure(
    name: str, rows: Rows, metric: str, arm: str, against: str, least: float, least_points: float = 0.10
) -> Figure:
    """A gain of at least a share of the baseline, which is also ``least_points`` or more."""
    gain = difference(rows, metric, arm, against)
    _, theirs = rows.shared(metric, (arm, against))
    baseline = float(np.mean([row.value for row in theirs]))
    relative = gain.value / baseline if baseline > 0 else float("inf")
    ends = (gain.low / baseline, gain.high / baseline) if baseline > 0 else None
    met = relative >= least and gain.value >= least_points and gain.low > 0 and gain.signs_agree
    bar = f"{least:+.0%} or more of the baseline, and {100 * least_points:.0f} points, lower end above 0"
    return Figure(name, relative, ends, bar, met)


def share_of_gap(rows: Rows, metric: str, arm: str, against: str, ceiling: float) -> float:
    """How much of the way from a baseline to a ceiling an arm goes; NaN where there is no way."""
    ours, theirs = (float(np.mean([row.value for row in found])) for found in rows.shared(metric, (arm, against)))
    return (ours - theirs) / (ceiling - theirs) if ceiling > theirs else float("nan")
