"""The first sound waits as long as it must, and no longer than a player needs it to."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.generation.first_chunk import LONGEST_TEXT, FirstChunk
from cslm.generation.replay import MadeWindow, WrittenId, replay

UNIT_SEC, WINDOW_SEC, AHEAD = 0.05, 0.28, 10  # a unit sounds, a window sounds, units that a window waits for


def reply(numbers: np.random.Generator, step_sec: float, decoding_rtf: float, chunks: list[tuple[int, int]]):
    """Ids and windows of chunks of (ids of text, units); steps take about ``step_sec``."""
    kinds = [(True, False)] * 12
    for text, units in chunks:
        kinds += [(False, False)] * text + [(False, True)] * units
    ids = [WrittenId(step_sec * numbers.uniform(0.8, 1.2), *kind) for kind in kinds]
    places = [place + 1 for place, one in enumerate(ids) if one.is_unit]
    total, windows, sounded = len(places) * UNIT_SEC, [], 0.0
    while sounded < total - 1e-9:
        sound = min(WINDOW_SEC, total - sounded)
        sounded += sound
        last = min(len(places) - 1, int(sounded / UNIT_SEC) + AHEAD)
        needed = len(ids) if last == len(places) - 1 else places[last]
        windows.append(MadeWindow(needed, sound * decoding_rtf, sound, int(sounded / UNIT_SEC + 1e-9)))
    return ids, windows


@pytest.mark.parametrize("factor", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("decoding_rtf", [0.05, 0.5])
def test_a_player_never_waits_where_every_chunk_is_made_faster_than_it_plays(factor, decoding_rtf):
    for seed in range(40):
        numbers = np.random.default_rng(seed)
        chunks = []
        for _ in range(int(numbers.integers(1, 7))):
            text = int(numbers.integers(5, LONGEST_TEXT))
            chunks.append((text, int(numbers.integers(2 * text, 6 * text))))
        share = min(units / (units + text) for text, units in chunks)  # of the steps of the slowest chunk
        ids, windows = reply(numbers, factor * share * UNIT_SEC / 1.2, decoding_rtf, chunks)
        played = replay(ids, windows)
        assert played.starved_sec <= 0.0
        assert played.first_sound_sec <= played.whole_sec


def test_many_chunks_are_heard_long_before_they_are_whole():
    ids, windows = reply(np.random.default_rng(0), 0.01, 0.1, [(10, 60)] * 4)
    played = replay(ids, windows)
    assert played.first_sound_sec < 0.4 * played.whole_sec
    without_text = replay(ids, windows, chunked=False)
    assert without_text.first_sound_sec < played.first_sound_sec


def test_what_is_slower_than_it_plays_is_heard_when_it_is_whole():
    ids, windows = reply(np.random.default_rng(0), 0.06, 0.1, [(10, 60)] * 3)
    played = replay(ids, windows)
    assert played.first_sound_sec == pytest.approx(played.whole_sec) and played.starved_sec <= 0
    assert replay(ids, windows, slower=0.2).first_sound_sec < 0.2 * played.first_sound_sec


def test_a_longer_text_than_reckoned_with_is_remembered():
    rule = FirstChunk(chunked=True)
    for _ in range(2 * LONGEST_TEXT):
        rule.wrote(0.01, False, False)
    assert rule.longest_text == LONGEST_TEXT
    rule.wrote(0.01, False, True)
    assert rule.longest_text == 2 * LONGEST_TEXT and not rule.may_start
    rule.spoke(0.5, 10, 0.05)
    needed = rule.needed_sec
    assert needed > 2 * LONGEST_TEXT * rule.step_sec == pytest.approx(0.48)
    rule.spoke(0.5, 20, 0.05)
    assert rule.needed_sec == pytest.approx(0.48 + 0.5 * (0.01 * 20 + 0.1) / 1.0) and rule.may_start
