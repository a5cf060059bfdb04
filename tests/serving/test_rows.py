"""Ids of a reply on their way from the engine to its thread."""

from __future__ import annotations

import time

import numpy as np

from cslm.serving.places import Places
from cslm.serving.rows import Kind, Row, Written


def row() -> Row:
    return Row(Places(1, 0).take(), np.zeros(3), Kind("text", frozenset()), 99, None)


def test_ids_that_are_held_come_together_in_order_and_all_before_the_end() -> None:
    told = row()
    for number in range(5):
        told.tell(Written(number, 0.0), 600.0)
    assert told._told.empty()
    told.hand_over()
    told.tell(Written(5, 0.0), 600.0)
    told.end()
    assert [written.token_id for written in told] == list(range(6))


def test_each_id_keeps_the_time_that_it_took() -> None:
    told = row()
    for pause in (0.0, 0.05, 0.0):
        time.sleep(pause)
        told.tell(Written(1, 0.0), 600.0)
    told.end()
    took = [told.step_sec for _ in told]
    assert took[1] >= 0.05 > took[2]
