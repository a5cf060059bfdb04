"""Many connections on a simulated clock, from step times that were measured: does any player run dry?

One engine writes an id for every open reply in each step, as the server's does; one decoder makes the windows of all
replies in the order in which their units come. Measured are: each step of each reply alone, each window, and how much
longer a step takes with more rows. Replies come at the rate that is asked for: ``even``, or at ``random`` (independent
of each other, seed 0).

- ``real_time_factor``: seconds that a second of speech takes, of writing or of decoding, whichever is longer.
- ``load``: seconds of speech that are asked for in a second, by 1 / ``real_time_factor``.
- ``starved_ms``: the longest wait of each reply's player; ``under_100_ms``: the share of replies that wait less.
- ``most_open``: replies that were written at the same time.
- ``largest_load``: of those tried, the largest at which, and below which, every reply waits less than 100 ms.
- ``step_by_rows``: seconds of a step of so many rows, by that of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cslm.benchmarks.timed_reply import Timed, spread
from cslm.generation.decoding import DecodingConfig, RunningBatch
from cslm.generation.events import QuestionHeard
from cslm.generation.first_chunk import FirstChunk
from cslm.generation.replay import MadeWindow, Played, WrittenId

LOAD = 0.8
LOADS = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2)
_ROWS = (1, 2, 4, 8, 16)
_STEPS = 40  # timed, of each number of rows
_REPLIES = 200  # simulated, of each load


class Reply(NamedTuple):
    """What is known of one reply."""

    ids: Sequence[WrittenId]
    windows: Sequence[MadeWindow]


class Simulated(NamedTuple):
    """What listeners had."""

    played: list[Played]
    """times count from when each reply was asked for"""
    most_open: int


class _Open:
    """A reply that was asked for."""

    def __init__(self, reply: Reply, asked_sec: float) -> None:
        self.reply, self.asked_sec = reply, asked_sec
        self.written: list[float] = []  # when each id was there
        self.made: list[float] = []  # when each window was


def many_at_once(model: Any, heard: Sequence[QuestionHeard], timed: Sequence[Timed]) -> dict[str, Any]:
    """The figures of this module, for a model and replies that were timed one by one."""
    replies, chunked = [Reply(one.ids, one.windows) for one in timed], model.processor.chain.chunked
    ratios = _step_ratios(model, heard)
    factor, sound_sec = load_of_one(timed)
    found: dict[str, Any] = {
        "clock": "simulated",
        "real_time_factor": factor,
        "load": LOAD,
        "step_by_rows": {str(count): ratio for count, ratio in ratios.items()},
    }
    chosen = [replies[place % len(replies)] for place in range(_REPLIES)]
    for name in ("even", "random"):
        simulated = [
            simulate(chosen, _arrivals(name, _REPLIES, sound_sec * factor / load), partial(step_cost, ratios), chunked)
            for load in LOADS
        ]
        waits = [[1000 * max(0.0, one.starved_sec) for one in run.played] for run in simulated]
        place = LOADS.index(LOAD)
        found[name] = {
            "starved_ms": spread(waits[place]),
            "under_100_ms": float(np.mean([wait < 100 for wait in waits[place]])),
            "most_open": simulated[place].most_open,
            "largest_load": largest_load([max(waited) for waited in waits]),
        }
    return found


def step_cost(ratios: Mapping[int, float], count: int) -> float:
    """Of a step of ``count`` rows: between numbers that were measured on a line, beyond them in proportion."""
    most = max(ratios)
    return float(np.interp(count, list(ratios), list(ratios.values()))) * max(1.0, count / most)


def load_of_one(timed: Sequence[Timed]) -> tuple[float, float]:
    """The real-time factor of these replies, and how long one of them sounds on average."""
    sound = sum(one.sound_sec for one in timed)
    busy = max(sum(one.writing_sec for one in timed), sum(one.decoding_sec for one in timed))
    return busy / sound, sound / len(timed)


def largest_load(longest_ms: Sequence[float]) -> float | None:
    """The largest of :data:`LOADS` up to which the longest wait stays under 100 ms; None where the smallest fails."""
    found = None
    for load, wait in zip(LOADS, longest_ms, strict=True):
        if wait >= 100:
            break
        found = load
    return found


def simulate(
    replies: Sequence[Reply], arrivals_sec: Sequence[float], cost: Callable[[int], float], chunked: bool
) -> Simulated:
    """Write and speak replies that are asked for at these times, in their order.

    Args:
        cost: of a step of so many rows, by that of one.
        chunked: as for :class:`~cslm.generation.first_chunk.FirstChunk`.
    """
    asked = [_Open(reply, at) for reply, at in zip(replies, arrivals_sec, strict=True)]
    waiting, writing, now, most = list(asked), list[_Open](), 0.0, 0
    while waiting or writing:
        if not writing:
            now = max(now, waiting[0].asked_sec)
        while waiting and waiting[0].asked_sec <= now:
            joined = waiting.pop(0)
            now += joined.reply.ids[0].seconds  # the prompt, which the others wait for
            joined.written.append(now)
            writing.append(joined)
        most = max(most, len(writing))
        writing = [one for one in writing if len(one.written) < len(one.reply.ids)]
        if writing:
            steps = [one.reply.ids[len(one.written)].seconds for one in writing]
            now += cost(len(writing)) * sum(steps) / len(steps)
            for one in writing:
                one.written.append(now)
            writing = [one for one in writing if len(one.written) < len(one.reply.ids)]
    _decode(asked)
    return Simulated([_play(one, chunked) for one in asked], most)


def _decode(asked: Sequence[_Open]) -> None:
    """The windows of all replies on one decoder, first come, first served."""
    work = [
        (one.written[window.num_ids - 1], number, place, window)
        for number, one in enumerate(asked)
        for place, window in enumerate(one.reply.windows)
    ]
    free = 0.0
    for came, number, _, window in sorted(work, key=lambda item: item[:3]):
        free = max(free, came) + window.decoding_sec
        asked[number].made.append(free)


def _play(one: _Open, chunked: bool) -> Played:
    """A player that begins by the rule, as :func:`~cslm.generation.replay.replay` has it for one reply."""
    rule, told, begun, sound, starved = FirstChunk(chunked), 0, None, 0.0, 0.0
    ids, windows = one.reply.ids, one.reply.windows
    for window, made in zip(windows, one.made, strict=True):
        while told < len(ids) and one.written[told] <= made:
            if told:
                rule.wrote(one.written[told] - one.written[told - 1], ids[told].before_answer, ids[told].is_unit)
            told += 1
        if begun is not None:
            starved = max(starved, made - (begun + sound))
        sound += window.sound_sec
        rule.spoke(window.sound_sec, window.num_units, window.decoding_sec)
        rule.chunked = chunked and told < len(ids)
        if begun is None and (rule.may_start or window is windows[-1]):
            begun = made
    over = max(one.written[-1], *one.made) if one.made else one.written[-1]
    return Played((over if begun is None else begun) - one.asked_sec, starved, over - one.asked_sec)


def _arrivals(name: str, count: int, gap_sec: float) -> list[float]:
    gaps = np.full(count, gap_sec)
    if name == "random":
        gaps = np.random.default_rng(0).exponential(gap_sec, count)
    found: list[float] = np.cumsum(gaps).tolist()
    return found


def _step_ratios(model: Any, heard: Sequence[QuestionHeard]) -> dict[int, float]:
    """The median step of so many rows by that of one; numbers of rows of which nothing could be timed are left out."""
    rules, processor = model.tasks().rules("anything"), model.processor
    prompts = [processor.question_prompt(one.units, one.question_language, one.answer_language) for one in heard]
    found: dict[int, float] = {}
    for count in _ROWS:
        batch = RunningBatch(model, rules, DecodingConfig(max_new_tokens=_STEPS + 1))
        batch.admit(batch.read(range(count), [prompts[place % len(prompts)] for place in range(count)]))
        seconds = []
        while batch.num_open == count:
            start = time.perf_counter()
            batch.step()
            seconds.append(time.perf_counter() - start)
        if seconds:
            found[count] = float(np.median(seconds))
    alone = found.get(1) or min(found.values(), default=1.0)
    return {count: seconds / alone for count, seconds in found.items()} or {1: 1.0}
