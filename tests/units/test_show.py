from __future__ import annotations

import numpy as np
import pytest

from cslm.cli import dispatch
from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.units.show import ShowConfig, show, usage_by_language
from cslm.units.store import StoreRow, write_store


@pytest.fixture
def store(tmp_path):
    rows = [
        StoreRow(
            "a",
            "en",
            "one two",
            1.0,
            Units(np.array([[0], [1], [0]]), np.array([2, 3, 5])),
            "m",
            None,
            [("one", 0.0, 0.4)],
        ),
        StoreRow("b", "zh", "三", 3.0, Units(np.array([[2], [1]]), np.array([10, 20]))),
    ]
    return write_store(tmp_path / "s", rows, fingerprint="unknown", card="x", codebook_sizes=(4,), frame_rate_hz=10.0)


def test_usage_by_language(store):
    usage = usage_by_language(store)
    assert list(usage) == ["en", "zh", "all"]
    assert usage["en"].units.tolist() == [2, 1, 0, 0]
    assert usage["all"].units.tolist() == [2, 2, 1, 0]
    assert usage["all"].share_used == 0.75
    assert usage["en"].share_merged == pytest.approx(0.7)
    assert usage["zh"].perplexity == pytest.approx(2.0)


def test_the_table(store, capsys):
    dispatch(["show", str(store.path)])
    told = capsys.readouterr().out
    assert "card x, 4 units, 10 frames a second" in told
    lines = [line.split() for line in told.splitlines()]
    assert ["zh", "1", "0.00", "0.7", "93%", "50.0%", "2.0"] in lines
    assert "up to: 1 s 1  5 s 1" in told


def test_one_utterance(store):
    told = show(ShowConfig(str(store.path), id="a"))
    assert told.splitlines()[:3] == ["a: en, 1.00 s, 10 frames, 3 units, m", "one two", "<0>x2 <1>x3 <0>x5"]
    with pytest.raises(UserError, match="holds no utterance 'c'"):
        show(ShowConfig(str(store.path), id="c"))


def test_several_codebooks_by_their_surface_forms(tmp_path):
    rows = [StoreRow("a", "en", "x", 1.0, Units(np.array([[3, 1], [0, 2]])))]
    store = write_store(tmp_path / "s", rows, fingerprint="unknown", card="x", codebook_sizes=(4, 4), frame_rate_hz=2.0)
    assert show(ShowConfig(str(store.path), id="a")).splitlines()[2] == "<3><1:1><0><1:2>"


def test_playing_says_what_it_needs(store, card, tmp_path):
    with pytest.raises(UserError, match="--id"):
        show(ShowConfig(str(store.path), play="x.wav"))
    with pytest.raises(UserError, match="--tokenizer"):
        show(ShowConfig(str(store.path), id="a", play="x.wav"))
    with pytest.raises(UserError, match="was made with unknown"):
        show(ShowConfig(str(store.path), id="a", play="x.wav", tokenizer=str(card)))


def test_the_plot(store, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    show(ShowConfig(str(store.path), plot=str(tmp_path / "p" / "plot.png")))
    assert (tmp_path / "p" / "plot.png").read_bytes()[:4] == b"\x89PNG"
