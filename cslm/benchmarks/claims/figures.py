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
_LEAST_POINTS = 0.10
_MANY = 2000


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

    def metrics(self, arm: str, item: str) -> list[str]:
        """What an arm has of an item, on any seed, in the order of the alphabet."""
        return sorted(
            metric
            for (metric, name), found in self._values.items()
            if name == arm and any(item == it for _, it in found)
        )

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


def difference(rows: Rows, metric: str | Sequence[str], arm: str, against: str) -> Interval:
    """How much higher an arm is than another on the items that both have, over one metric or several together."""
    metrics = [metric] if isinstance(metric, str) else metric
    pairs = [rows.shared(name, (arm, against)) for name in metrics]
    ours, theirs = ([row for pair in pairs for row in pair[side]] for side in (0, 1))
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


def relative_gain_figure(name: str, rows: Rows, metric: str, arm: str, against: str, least: float) -> Figure:
    """A gain of at least a share of the baseline, which is also 10 points or more."""
    gain = difference(rows, metric, arm, against)
    _, theirs = rows.shared(metric, (arm, against))
    baseline = float(np.mean([row.value for row in theirs]))
    relative = gain.value / baseline if baseline > 0 else float("inf")
    ends = (gain.low / baseline, gain.high / baseline) if baseline > 0 else None
    met = relative >= least and gain.value >= _LEAST_POINTS and gain.low > 0 and gain.signs_agree
    bar = f"{least:+.0%} or more of the baseline, and {100 * _LEAST_POINTS:.0f} points, lower end above 0"
    return Figure(name, relative, ends, bar, met)


def no_worse_figure(name: str, rows: Rows, metrics: str | Sequence[str], arm: str, against: str) -> Figure:
    """A loss of 2 points at most, by the lower end of its interval; of 5 where there are fewer than 2,000 items."""
    gain = difference(rows, metrics, arm, against)
    names = [metrics] if isinstance(metrics, str) else metrics
    count = sum(len(rows.shared(metric, (arm, against))[0]) for metric in names)
    most = 0.02 if count >= _MANY else 0.05
    return Figure(name, gain.value, (gain.low, gain.high), f"lower end above {-most:g}", gain.low > -most)


def saved_figure(name: str, rows: Rows, metric: str, arm: str, against: str, least: float) -> Figure:
    """By which share of the other's an arm has less of something, on every seed; ``least`` as a positive share."""
    theirs, saved = mean(rows, metric, against).value, difference(rows, metric, arm, against)
    relative, ends = saved.value / theirs, (saved.low / theirs, saved.high / theirs)
    return Figure(name, relative, ends, f"{-least:.0%} or less", relative <= -least and saved.signs_agree)


def kept_figure(name: str, rows: Rows, metric: str, arm: str, against: str, most: float) -> Figure:
    """What an arm loses as a share of the other's, of which ``most`` may be lost, over all seeds and on each of them.

    NaN where the other has nothing.
    """
    ours, theirs = rows.shared(metric, (arm, against))
    seeds = {row.seed for row in ours}
    lost = [_lost(ours, theirs, chosen) for chosen in [seeds, *({seed} for seed in sorted(seeds))]]
    return Figure(name, lost[0], None, f"{-most:.0%} or more, on every seed", all(share >= -most for share in lost))


def _lost(ours: Sequence[Row], theirs: Sequence[Row], seeds: set[int]) -> float:
    found, before = (sum(row.value for row in side if row.seed in seeds) for side in (ours, theirs))
    return found / before - 1 if before > 0 else float("nan")


def closed_figure(name: str, rows: Rows, metric: str, arm: str, against: str, ceiling: str) -> Figure:
    """How much of the way from a baseline to a ceiling, an arm too, an arm goes; NaN where there is no way."""
    ours, theirs, most = (
        float(np.mean([row.value for row in found])) for found in rows.shared(metric, (arm, against, ceiling))
    )
    return Figure(name, (ours - theirs) / (most - theirs) if most > theirs else float("nan"), None, "", None)
