"""Distances between words as they sound: a path through a table that is small enough to check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cslm.benchmarks.village_words import WordSounds, table, village_words, warped_distances
from cslm.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_the_best_path_stretches_either_word():
    slow, fast, other = column(0, 0, 5, 5), column(0, 5), column(0, 3)
    distances = warped_distances([slow, fast], [fast, other, slow])
    assert distances == pytest.approx(np.array([[0, 4 / 6, 0], [0, 2 / 4, 0]]))


def test_one_pair_by_hand():
    # distances to 2 and 3: 1 2, 1 0, 3 2. The path goes down to the right, then down
    assert warped_distances([column(1, 3, 5)], [column(2, 3)])[0, 0] == pytest.approx((1 + 0 + 2) / 5)


def test_the_closest_pairs_of_each_kind():
    distances = np.array([[1.0, 1.5, 1.1], [1.5, 1.0, 1.2], [1.1, 1.2, 1.0]])
    sounds = WordSounds("xx", {"names": [0, 1], "pet": [2]}, ["Ann", "Bob", "cat"], distances, {"gmw/xx+m1": 0.5})
    assert sounds.closest("names", 3) == [(1.5, "Ann", "Bob")] and sounds.closest("pet", 3) == []
    assert "| | names | pet |\n|---|---|---|\n| xx | Ann Bob 1.50 |  |" in table(
        [sounds], 3
    ) and "| xx | m1 50% |" in table([sounds], 3)


def test_two_voices_tell_the_words_of_a_table_and_the_script_prints_them():
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    sounds = village_words("de", 2)
    assert min(sounds.clearness.values()) > 0.9
    assert all(sounds.closest(kind, 1)[0][0] > 1.05 for kind in sounds.kinds)
    script = [sys.executable, str(ROOT / "tools" / "bench_village_words.py"), "de", "--voices", "2", "--closest", "1"]
    printed = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    distance, first, second = sounds.closest("names", 1)[0]
    assert f"| de | {first} {second} {distance:.2f} |" in printed


def test_one_voice_is_not_enough():
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    with pytest.raises(UserError, match="two voices or more"):
        village_words("de", 1)
