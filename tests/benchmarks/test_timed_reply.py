"""What one reply could take at least, by hand-made numbers."""

from __future__ import annotations

import pytest

from cslm.benchmarks.timed_reply import floor_sec, spread
from cslm.generation.replay import MadeWindow, WrittenId

IDS = [WrittenId(1.0, False, False), *[WrittenId(0.1, False, True)] * 9]
"""the prompt takes a second, each further id a tenth"""
WINDOWS = [
    MadeWindow(3, 0.01, 0.0, 0),  # nothing sounds yet
    MadeWindow(5, 0.20, 0.5, 4),
    MadeWindow(8, 0.30, 0.5, 7),
    MadeWindow(10, 0.40, 0.25, 9),
]


@pytest.mark.parametrize(
    ("sound_sec", "floor"),
    [
        (0.0, 1.4 + 0.2),  # the first sound that there is: 5 ids and its window
        (0.5, 1.4 + 0.2),
        (0.51, 1.7 + 0.3),  # a second window, 8 ids
        (1.0, 1.7 + 0.3),
        (1.25, 1.9 + 0.4),
    ],
)
def test_the_floor_is_the_prompt_the_ids_that_the_sound_needs_and_its_last_window(sound_sec, floor) -> None:
    assert floor_sec(IDS, WINDOWS, sound_sec) == pytest.approx(floor)


def test_rounded_samples_do_not_ask_for_a_window_more() -> None:
    assert floor_sec(IDS, WINDOWS, 0.5 + 1 / 24000) == pytest.approx(1.6)


def test_percentiles_leave_out_what_is_not_there() -> None:
    assert spread([None, 3.0, 1.0]) == {"n": 2, "p50": 2.0, "p95": 2.9, "p99": pytest.approx(2.98), "max": 3.0}
    assert spread([None]) is None
