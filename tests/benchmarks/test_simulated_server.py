"""Many replies on a simulated clock, by hand-made step times."""

from __future__ import annotations

import pytest

from cslm.benchmarks.simulated_server import LOADS, Reply, largest_load, load_of_one, simulate, step_cost
from cslm.benchmarks.timed_reply import Timed
from cslm.generation.replay import MadeWindow, WrittenId, replay


def a_reply(num_units: int = 60, step_sec: float = 0.01, unit_sec: float = 0.05, decoding_sec: float = 0.05) -> Reply:
    """A prompt of 0.2 s, four ids of text, and units; a window every ten of them."""
    ids = [WrittenId(0.2, False, False), *[WrittenId(step_sec, False, False)] * 4]
    ids += [WrittenId(step_sec, False, True)] * num_units
    ends = range(10, num_units + 1, 10)
    return Reply(ids, [MadeWindow(5 + end, decoding_sec, 10 * unit_sec, end) for end in ends])


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("reply", [a_reply(), a_reply(step_sec=0.049), a_reply(decoding_sec=0.6), a_reply(0)])
def test_one_reply_alone_is_replayed_as_it_always_was(reply: Reply, chunked: bool) -> None:
    simulated = simulate([reply], [3.0], lambda _: 1.0, chunked)
    assert simulated.most_open == 1
    assert simulated.played[0] == pytest.approx(replay(reply.ids, reply.windows, chunked), abs=1e-9)


def test_steps_are_shared_and_prompts_are_waited_for() -> None:
    """Two replies of three ids, both asked for at 0: two prompts of 0.2 s, then two steps of 1.5 * 0.1 s."""
    ids = [WrittenId(0.2, False, False), WrittenId(0.1, False, True), WrittenId(0.1, False, True)]
    reply = Reply(ids, [MadeWindow(3, 0.5, 1.0, 2)])
    simulated = simulate([reply, reply], [0.0, 0.0], lambda rows: 1.0 if rows == 1 else 1.5, False)
    assert simulated.most_open == 2
    # 0.4 + 0.3 s of writing; the windows come at the same time, and the second one waits for the first
    assert [one.whole_sec for one in simulated.played] == pytest.approx([1.2, 1.7])


def test_who_comes_later_is_timed_from_then() -> None:
    ids = [WrittenId(0.2, False, False), WrittenId(0.1, False, True)]
    reply = Reply(ids, [MadeWindow(2, 0.1, 1.0, 1)])
    simulated = simulate([reply, reply], [0.0, 10.0], lambda _: 1.0, False)
    assert [one.first_sound_sec for one in simulated.played] == pytest.approx([0.4, 0.4])


def test_a_decoder_that_is_too_slow_for_both_makes_players_wait() -> None:
    """A window of 0.5 s takes 0.3 s: enough for one, and too little for two."""
    reply = a_reply(num_units=200, decoding_sec=0.3)
    alone = simulate([reply], [0.0], lambda _: 1.0, True).played[0]
    both = simulate([reply, reply], [0.0, 0.0], lambda _: 1.0, True).played
    assert alone.starved_sec == 0 and max(one.starved_sec for one in both) > 0.1


def test_steps_of_numbers_that_were_not_measured() -> None:
    ratios = {1: 1.0, 2: 1.2, 4: 2.0}
    assert [step_cost(ratios, count) for count in (1, 2, 3, 4, 8)] == pytest.approx([1.0, 1.2, 1.6, 2.0, 4.0])


def test_the_load_of_one_is_writing_or_decoding_whichever_takes_longer() -> None:
    reply = a_reply()  # 0.84 s of writing, 0.3 s of decoding, 3 s of sound
    timed = Timed(list(reply.ids), list(reply.windows), [], 1, 0)
    assert load_of_one([timed, timed]) == pytest.approx((0.28, 3.0))
    slow = a_reply(decoding_sec=0.25)  # 1.5 s of decoding
    assert load_of_one([Timed(list(slow.ids), list(slow.windows), [], 1, 0)]) == pytest.approx((0.5, 3.0))


def test_the_largest_load_lies_below_the_first_that_starves() -> None:
    waits = [0.0] * len(LOADS)
    assert largest_load(waits) == LOADS[-1]
    waits[3] = 100.0  # what comes behind does not matter
    assert largest_load(waits) == LOADS[2]
    waits[0] = 250.0
    assert largest_load(waits) is None
