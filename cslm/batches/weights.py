"""Shares of the sources over a training: weights that may change on the way, and caps on languages and tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cslm.corpora.languages import language_tag
from cslm.errors import UserError

SHAPES = ("linear", "cosine", "steps")
_TOLERANCE = 1e-9
_STRONGEST = 300.0  # beyond it nothing is left but the sources with the least of what is capped
_STEPS_OF_A_MEAN = 200

Shares = NDArray[np.float64]
Cap = Callable[[Shares], Shares]
"""what shares of tokens become under caps"""


@dataclass
class WeightSchedule:
    """A weight that changes while training goes on, e.g. ``{values: [0.6, 0.1], shape: cosine}``."""

    values: list[float]
    """the weights, in the order of ``at``"""
    at: list[float] | None = None
    """where they hold, as shares of the training from 0 to 1, rising; null spaces them evenly (steps: from 0 on)"""
    shape: str = "linear"
    """between two values: linear, cosine (half a wave, flat at both), or steps (each holds until the next)"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: values or places that make no schedule.
        """
        if self.shape not in SHAPES:
            raise UserError(f"a weight has the shape {self.shape!r}: choose one of {', '.join(SHAPES)}")
        if len(self.values) < 2:
            raise UserError(f"a weight has the values {self.values}: give two or more, or one number instead")
        if self.at is not None:
            rising = all(first < second for first, second in pairwise(self.at))
            if len(self.at) != len(self.values) or not rising or not 0 <= self.at[0] <= self.at[-1] <= 1:
                raise UserError(f"a weight has values at {self.at}: give {len(self.values)} rising shares from 0 to 1")

    @property
    def places(self) -> list[float]:
        """Where the values hold."""
        if self.at is not None:
            return self.at
        count = len(self.values) if self.shape == "steps" else len(self.values) - 1
        return [index / count for index in range(len(self.values))]

    def value(self, progress: float) -> float:
        """The weight at ``progress``, 0 to 1; before the first place and after the last it is the value there."""
        places = self.places
        following = next((index for index, place in enumerate(places) if place > progress), len(places))
        if following == 0:
            return self.values[0]
        before = self.values[following - 1]
        if following == len(places) or self.shape == "steps":
            return before
        way = (progress - places[following - 1]) / (places[following] - places[following - 1])
        if self.shape == "cosine":
            way = 0.5 - 0.5 * math.cos(math.pi * way)
        return before + way * (self.values[following] - before)


Weight = float | WeightSchedule


@dataclass
class CapsConfig:
    """Highest shares of the tokens. What a cap takes from some sources goes to the others, by their weights."""

    languages: dict[str, float] = field(default_factory=dict)
    """by language, e.g. {zh: 0.4}; of a source in several languages less is taken as a whole"""
    tasks: dict[str, float] = field(default_factory=dict)
    """by task, e.g. {tts: 0.3}"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a cap out of range, by name.
        """
        for name, cap in (*self.languages.items(), *self.tasks.items()):
            if not 0 < cap <= 1:
                raise UserError(f"caps: that of {name} is {cap}: give a share above 0 and at most 1")


def check_weight(name: str, weight: Weight) -> None:
    """Make sure that a source can have this weight.

    Raises:
        UserError: a weight that is negative or not a number.
    """
    for value in weight.values if isinstance(weight, WeightSchedule) else [weight]:
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"the weight of the source {name} is {value}: give a number from 0 on")


def is_never_drawn(weight: Weight) -> bool:
    """Whether the weight is 0 all the way."""
    return not any(weight.values) if isinstance(weight, WeightSchedule) else weight == 0


def weight_at(weight: Weight, progress: float) -> float:
    """The weight at ``progress`` of the training, 0 to 1."""
    return weight.value(progress) if isinstance(weight, WeightSchedule) else weight


def shares_at(weights: Sequence[Weight], progress: float, cap: Cap | None = None) -> Shares:
    """Shares of the tokens at ``progress`` of the training, 0 to 1, ``(sources,)``, under ``cap`` where there is one.

    Raises:
        UserError: all weights are 0 there, or caps that cannot be kept.
    """
    values = np.array([weight_at(weight, progress) for weight in weights], dtype=np.float64)
    if not values.sum() > 0:
        where = f" at {progress:.0%} of the training" if len(values) else ""
        raise UserError(f"no source has a weight above 0{where}: there is nothing to train on")
    shares = values / values.sum()
    return shares if cap is None else cap(shares)


def stage_starts(weights: Iterable[Weight]) -> list[float]:
    """Where the stages of a training begin, as shares of it, rising from 0: where a weight takes a step."""
    stepping = (it for it in weights if isinstance(it, WeightSchedule) and it.shape == "steps")
    return sorted({0.0, *(place for schedule in stepping for place in schedule.places if place < 1)})


def mean_shares(weights: Sequence[Weight], cap: Cap | None = None, begin: float = 0.0, end: float = 1.0) -> Shares:
    """Shares of the tokens of a training, or of what lies between two places of it, ``(sources,)``.

    Raises:
        UserError: as :func:`shares_at`.
    """
    if not any(isinstance(weight, WeightSchedule) for weight in weights):
        return shares_at(weights, 1.0, cap)
    inner = [start for start in stage_starts(weights) if begin < start < end]
    stages = list(pairwise([begin, *inner, end]))
    middles = (np.arange(_STEPS_OF_A_MEAN) + 0.5) / _STEPS_OF_A_MEAN
    means = [
        np.mean([shares_at(weights, first + place * (last - first), cap) for place in middles.tolist()], axis=0)
        for first, last in stages
    ]
    return np.average(means, axis=0, weights=[last - first for first, last in stages])


class Caps:
    """Shares of tokens brought under caps.

    Args:
        config: the caps.
        tasks: of each source.
        languages: of each source, how its tokens are shared among languages.

    Raises:
        UserError: a cap on what no source has, on no language, or on one twice.
    """

    def __init__(self, config: CapsConfig, tasks: Sequence[str], languages: Sequence[Mapping[str, float]]) -> None:
        known = {"languages": {name for shares in languages for name in shares}, "tasks": set(tasks)}
        by_tag = {language_tag(name): cap for name, cap in config.languages.items()}
        if len(by_tag) < len(config.languages):
            raise UserError(f"caps.languages names one language twice: {', '.join(config.languages)}")
        for kind, caps in (("languages", by_tag), ("tasks", config.tasks)):
            for name in caps.keys() - known[kind]:
                raise UserError(f"caps.{kind} names {name!r}; the sources have {', '.join(sorted(known[kind]))}")
        parts = {f"the language {name}": [shares.get(name, 0.0) for shares in languages] for name in by_tag}
        parts |= {f"the task {name}": [float(task == name) for task in tasks] for name in config.tasks}
        self._names = list(parts)
        self._parts = np.array(list(parts.values())).reshape(len(parts), len(tasks))
        self._caps = np.array([*by_tag.values(), *config.tasks.values()])

    def apply(self, shares: Shares) -> Shares:
        """Shares of tokens by source, summing to 1, under every cap; sources alike in it keep their proportions.

        Raises:
            UserError: the caps cannot be kept together with these sources.
        """
        for _ in range(1000):
            excess = self._parts @ shares - self._caps
            if not len(excess) or excess.max() <= _TOLERANCE:
                return shares
            worst = int(excess.argmax())
            shares = _tilted(shares, self._parts[worst], self._caps[worst])
        raise UserError(
            f"caps: {self._names[worst]} is still {excess.max() + self._caps[worst]:.0%} of the tokens where "
            f"{self._caps[worst]:.0%} is the cap: raise a cap, or add sources that are neither"
        )


def _tilted(shares: Shares, part: Shares, cap: float) -> Shares:
    """The shares of which ``part`` is the cap, or less by a hair, and which are nearest by relative entropy.

    That is every share times ``exp(-strength * part)``: a source that is half in the language loses less than one that
    is all in it, and none is lost altogether.
    """
    low, high = 0.0, _STRONGEST
    for _ in range(80):
        strength = (low + high) / 2
        tilted = shares * np.exp(-strength * (part - part.min()))
        low, high = (low, strength) if part @ tilted <= cap * tilted.sum() else (strength, high)
    tilted = shares * np.exp(-high * (part - part.min()))
    return np.asarray(tilted / tilted.sum())
