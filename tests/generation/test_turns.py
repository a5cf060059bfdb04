"""Where somebody speaks: speech and silence by hand, in pieces of any size."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.generation.turns import SpeechBegan, SpeechEnded, Spoken, TurnDetector, until_silence

RATE = 24000
MS = 24  # samples


def quiet(milliseconds: int) -> np.ndarray:
    return np.full(milliseconds * MS, 0.001, np.float32)


def loud(milliseconds: int) -> np.ndarray:
    return 0.3 * np.sign(np.sin(np.arange(milliseconds * MS) / 20)).astype(np.float32)


def told(sound: np.ndarray, piece: int = 10**6, **given: float) -> list:
    detector = TurnDetector(RATE, **{"threshold": 0.5, "prefix_ms": 100, "silence_ms": 200, **given})
    return [event for start in range(0, len(sound), piece) for event in detector.push(sound[start : start + piece])]


@pytest.mark.parametrize("piece", [1, 7, 480, 481, 10**6])
def test_one_turn(piece: int) -> None:
    sound = np.concatenate([quiet(500), loud(400), quiet(100), loud(200), quiet(1000)])
    if piece < 480:
        sound = sound[: 1700 * MS]
    events = told(sound, piece)
    assert [event for event in events if not isinstance(event, Spoken)] == [
        SpeechBegan(400 * MS),  # 100 ms are kept before it
        SpeechEnded(1400 * MS),  # 200 ms after the last sound: the pause of 100 ms is part of it
    ]
    heard = np.concatenate([event.samples for event in events if isinstance(event, Spoken)])
    assert np.array_equal(heard, sound[400 * MS : 1400 * MS])


def test_several_turns_and_none() -> None:
    sound = np.concatenate([loud(200), quiet(400)] * 3)
    assert sum(isinstance(event, SpeechBegan) for event in told(sound)) == 3
    assert told(quiet(3000)) == []


def test_a_click_is_no_speech() -> None:
    assert told(np.concatenate([quiet(500), loud(40), quiet(500)])) == []


def test_the_threshold_is_in_decibels_of_full_scale() -> None:
    still = np.full(1000 * MS, 0.02, np.float32)  # -34 dB
    assert told(still, threshold=0.6) and not told(still, threshold=0.7)  # -36 and -32 dB


def test_a_turn_that_was_ended_begins_anew() -> None:
    detector = TurnDetector(RATE, 0.5, 0, 200)
    assert any(isinstance(event, SpeechBegan) for event in detector.push(loud(200)))
    detector.end()
    assert not detector.speaks
    assert any(isinstance(event, SpeechBegan) for event in detector.push(loud(200)))


@pytest.mark.parametrize("piece", [480, 7000, 10**6])
def test_a_turn_that_is_too_long_ends_and_another_begins(piece: int) -> None:
    events = told(loud(2500), piece, prefix_ms=0, longest_ms=1000)
    ends = [event.sample for event in events if isinstance(event, SpeechEnded)]
    assert ends == [1000 * MS, 2000 * MS] and sum(isinstance(event, SpeechBegan) for event in events) == 3


def test_the_first_turn_of_an_open_microphone() -> None:
    sound = np.concatenate([quiet(1500), loud(500), quiet(240), loud(200), quiet(2000), loud(500)])
    pieces = [(sound[start : start + 1200], RATE) for start in range(0, len(sound), 1200)]
    heard = np.concatenate([samples for samples, _ in until_silence(pieces, silence_sec=0.6)])
    assert np.array_equal(heard, sound[1200 * MS : (1500 + 940 + 600) * MS])
    assert sum(len(samples) for samples, _ in until_silence(pieces[:36])) == (1800 - 1200) * MS  # they end before it
    assert sum(len(samples) for samples, _ in until_silence(pieces, longest_sec=1.0)) == 1000 * MS
    assert list(until_silence([(quiet(3000), RATE)])) == []
    assert list(until_silence([(loud(500), float(RATE))]))  # once a traceback


def test_an_unknown_activity_is_refused() -> None:
    with pytest.raises(UserError, match="no voice activity 'ears': choose energy or silero"):
        TurnDetector(RATE, 0.5, 0, 200, "ears")


def test_a_second_rate_was_heard_at_the_first() -> None:
    with pytest.raises(UserError, match="a piece of the question has 8000 Hz, the first"):
        list(until_silence([(loud(500), RATE), (loud(500), 8000)]))


@pytest.mark.parametrize("name", ["silence_sec", "longest_sec", "threshold"])
def test_a_turn_without_an_end_was_promised_by_a_setting(name: str) -> None:
    """NaN and what is below zero ended no turn, or all at once."""
    for value in (float("nan"), -1.0):
        with pytest.raises(UserError, match=f"{name} is {value}: it must be"):
            next(until_silence([(loud(500), RATE)], **{name: value}))
