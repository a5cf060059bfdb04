from __future__ import annotations

import pytest

from cslm.errors import UserError
from cslm.training.schedule import learning_rate_at
from tests.worlds.flat_training import training_config


def rates(**changes):
    config = training_config(max_steps=10, learning_rate=1.0, final_learning_rate=0.1, **changes)
    return [learning_rate_at(config, step) for step in range(11)]


def test_linear_falls_from_the_start_to_the_final_rate():
    assert rates(schedule="linear") == pytest.approx([1 - 0.09 * step for step in range(11)])


def test_cosine():
    found = rates(schedule="cosine")
    assert (found[0], found[5], found[10]) == pytest.approx((1.0, 0.55, 0.1))
    assert found == sorted(found, reverse=True)


def test_constant():
    assert rates(schedule="constant") == [1.0] * 11


def test_warmup_rises_and_then_the_schedule_begins():
    assert rates(schedule="linear", warmup_steps=4)[:6] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.85])
    assert rates(schedule="linear", warmup_fraction=0.4) == rates(schedule="linear", warmup_steps=4)


def test_max_steps_stops_without_changing_the_schedule_of_max_tokens():
    whole = training_config(max_tokens=20_000, tokens_per_step=1000)
    part = training_config(max_tokens=20_000, tokens_per_step=1000, max_steps=5)
    assert (whole.last_step, part.last_step) == (20, 5)
    assert learning_rate_at(whole, 4) == learning_rate_at(part, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "max_tokens or max_steps"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 1, "schedule": "sine"}, "cosine, linear, constant"),
        ({"max_steps": 1, "optimizer": "lion"}, "adamw"),
        ({"max_steps": 1, "zero_stage": 4}, "zero_stage"),
        ({"max_steps": 1, "precision": "fp8"}, "bf16"),
        ({"max_steps": 1, "compile": True, "gradient_checkpointing": True}, "compile has no effect under"),
        ({"max_steps": 1, "compile": True, "zero_stage": 3}, "ZeRO stage 3 shards them"),
        ({"max_steps": 1, "learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_values_out_of_range_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        training_config(**changes)
