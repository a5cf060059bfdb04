"""The comparison of training systems, on a model that takes seconds."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from cslm.benchmarks.compared_speed import (
    ROWS,
    padding_share,
    slots_as_planned,
    slots_of_authors,
    summary,
    training_speed,
    waste,
)
from cslm.benchmarks.compared_systems import Documents
from cslm.benchmarks.paper_mixture import Shape, drawn_lengths

TINY = Shape(hidden_size=64, num_layers=1, vocab_size=512, steps=2, threads=1)


def test_lengths_are_those_of_the_paper():
    lengths, learnt = drawn_lengths(20_000)
    assert 200 < lengths.mean() < 270
    assert 0.26 < padding_share(lengths) < 0.33
    assert ((learnt >= 1) & (learnt <= lengths)).all()
    assert lengths.max() <= 2048


def test_the_head_has_its_share_of_a_model_of_a_billion():
    assert Shape().head_share == pytest.approx(0.22, abs=0.01)


@pytest.mark.parametrize("row", ROWS)
def test_less_than_a_hundredth_of_a_row_stays_empty(row):
    assert 0 <= waste(drawn_lengths(50_000)[0], row) < 0.01


def test_planned_slots_are_twice_those_of_the_authors():
    lengths, _ = drawn_lengths(50_000)
    assert slots_as_planned(lengths) > 0.97 and slots_as_planned(lengths) > 2 * slots_of_authors(lengths)


def test_padded_and_ours_see_as_many_tokens_a_step(tmp_path):
    found = summary(training_speed(TINY, ("padded", "ours", "ours"), 1))
    padded, ours, again = found["rows"]
    assert again["useful_tokens"] == ours["useful_tokens"]
    assert ours["slot_tokens"] == ours["useful_tokens"]
    assert padded["slot_tokens"] > 1.1 * padded["useful_tokens"]
    assert 0.4 < ours["useful_tokens"] / padded["useful_tokens"] < 2.5  # 24 documents of very different lengths
    assert found["ours_vs_padded"] == pytest.approx(found["ours_tokens_per_sec"] / found["padded_tokens_per_sec"])


def test_what_was_collated_ahead_does_not_count(tmp_path):
    np.savez(tmp_path / "documents.npz", ids=np.arange(6), lengths=np.array([2, 4]), learnt=np.array([1, 1]))
    documents = Documents(str(tmp_path))
    documents.given = [(1, 10)] * 3 + [(2, 20)] * 2 + [(4, 40)]
    documents.start()
    documents.stop()
    assert {**documents.row("x", 2, 1), "seconds": 0} == {
        "system": "x",
        "useful_tokens": 4,
        "slot_tokens": 40,
        "seconds": 0,
    }


def test_trainer_waited_at_the_address_of_a_process_group_that_was_there_before(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        assert [row["system"] for row in training_speed(TINY, ("padded",), 1)] == ["padded"]
