"""A person talks to the page: what the microphone gives is heard, what the server sends is played to the sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from tests.worlds.browser import PATIENCE_MS, Visit, checksum, launched, visited
from tests.worlds.scripted_server import RATE_HZ, Chunk, Script, tones

QUESTION = tones(300, 500, 700, seconds=0.4)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with launched(QUESTION, tmp_path_factory.mktemp("microphone")) as found:
        yield found


def hold(visit: Visit, seconds: float = 1.4) -> None:
    """Hold the button until so much was heard."""
    visit.wait_open()
    visit.page.locator("#talk").hover()
    visit.page.mouse.down()
    visit.wait_heard(seconds)
    visit.page.mouse.up()


def plain_microphone(visit: Visit) -> None:
    visit.page.click(".settings summary")
    visit.page.uncheck("#processing")
    visit.page.click(".settings summary")


def test_a_question_is_heard_and_its_answer_played_to_the_sample(browser: Any) -> None:
    with visited(browser, Script(thoughts=(("core_question", "Anna: what?"),))) as visit:
        visit.wait_open()
        plain_microphone(visit)
        hold(visit)
        visit.wait_replied()
        assert visit.page.inner_text(".question .text") == "What does Anna do?"
        assert "core question" in visit.page.inner_text(".thoughts")
        assert visit.page.inner_text(".answer .text") == "安娜是面包师，大家都知道。就这些。"
        assert visit.page.inner_text(".answer .who") == "Model, in Chinese"
        saved, sounds = visit.saved()
        (turn,) = saved["turns"]
        sound = visit.server.sound()
        assert turn["player"]["played"] == len(sound) and turn["player"]["checksum"] == checksum(sound)
        assert np.array_equal(sounds["01_answer.wav"], sound)
        assert [chunk["first_sample"] for chunk in turn["chunks"]] == [0, 24000, 36000]
        assert np.array_equal(sounds["01_question.wav"], visit.server.heard())
        assert tones_heard(visit.server.heard()) == [300, 500, 700]
        kinds = [event["type"] for event in visit.server.events if event["type"] != "input_audio_buffer.append"]
        assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]
        assert visit.complaints == []


def tones_heard(heard: np.ndarray) -> list[int]:
    """The pitches that were heard one after the other, in Hz, by frames of 50 ms; a busy machine may drop some."""
    frames = heard[: len(heard) // 1200 * 1200].reshape(-1, 1200)
    loud = frames[np.abs(frames).mean(axis=1) > 500]
    peaks = np.argmax(np.abs(np.fft.rfft(loud, axis=1)), axis=1) * 20
    near = [min((300, 500, 700), key=lambda hz: abs(hz - peak)) for peak in peaks.tolist()]
    assert np.mean(np.abs(np.array(near) - peaks) <= 40) > 0.8
    return [hz for place, hz in enumerate(near) if place == 0 or near[place - 1] != hz]


def test_each_chunk_is_marked_while_it_plays(browser: Any) -> None:
    with visited(browser, Script()) as visit:
        visit.wait_open()
        visit.page.evaluate(
            """() => { window.marked = []; new MutationObserver(() => {
                const now = document.querySelector("[aria-current]")?.textContent;
                if (now !== undefined && now !== window.marked.at(-1)) window.marked.push(now);
            }).observe(document.getElementById("turns"), { subtree: true, attributes: true, childList: true }); }"""
        )
        hold(visit, 0.5)
        visit.wait_replied()
        chunks = [chunk.text for chunk in visit.server.script.chunks]
        assert visit.page.evaluate("window.marked") == chunks
        assert visit.page.locator("[aria-current]").count() == 0
        visit.page.evaluate("window.marked = []")
        visit.page.click(".answer .replay")  # and again when it is played again
        visit.wait("window.marked.length === 3")
        assert visit.page.evaluate("window.marked") == chunks


def test_stop_ends_the_sound_and_says_how_much_was_heard(browser: Any) -> None:
    chunks = [Chunk("Long. ", [1, 2], tones(440, seconds=6.0)), Chunk("Short.", [3], tones(550, seconds=30.0))]
    with visited(browser, Script(pace=0.2, chunks=chunks)) as visit:
        hold(visit, 0.5)
        visit.wait("document.querySelectorAll('.chunk').length === 2")
        visit.page.keyboard.press("Escape")
        visit.wait_replied()
        visit.wait("document.querySelector('.note').textContent.includes('what you heard')")
        (truncate,) = visit.server.of("conversation.item.truncate")
        (cancel,) = visit.server.of("response.cancel")
        assert cancel["response_id"] == "resp_" + truncate["item_id"].removeprefix("answer_")
        saved, _ = visit.saved()
        turn = saved["turns"][0]
        assert turn["status"] == "cancelled" and turn["player"]["stopped"]
        assert truncate["content_index"] == 0
        assert truncate["audio_end_ms"] == 1000 * turn["heard_samples"] // RATE_HZ
        assert 0 < turn["heard_samples"] <= turn["player"]["played"] < len(visit.server.sound())
        assert visit.page.locator(".chunk.unheard").all_inner_texts() == ["Short."]


def test_the_space_bar_is_held_or_the_button_tapped(browser: Any) -> None:
    with visited(browser, Script(pace=0.1)) as visit:
        visit.wait_open()
        visit.page.keyboard.down("Space")
        visit.page.locator("#talk[data-state=on]").wait_for()
        visit.wait_heard(0.5)
        visit.page.keyboard.up("Space")
        visit.wait_replied(1)
        visit.page.focus("#talk")
        visit.page.evaluate("document.getElementById('talk').click()")  # as a screen reader presses
        visit.page.locator("#talk[data-state=on]").wait_for()
        assert visit.page.get_attribute("#talk", "aria-pressed") == "true"
        visit.wait("document.querySelectorAll('.turn').length === 2")
        visit.wait_heard(len(visit.server.heard()) / RATE_HZ + 0.5)
        visit.page.evaluate("document.getElementById('talk').click()")
        visit.wait_replied(2)
        assert len(visit.server.of("response.create")) == 2


def test_hands_free_the_server_says_when_a_question_begins_and_ends(browser: Any) -> None:
    with visited(browser, Script(voice_starts_ms=200, voice_ends_ms=900, pace=0.1)) as visit:
        visit.wait_open()
        visit.page.click(".segments label:has-text('Hands-free')")
        visit.page.click("#talk")
        visit.wait_replied()
        update = visit.server.of("session.update")[-1]["session"]
        assert update["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        assert visit.server.of("response.create") == [] == visit.server.of("input_audio_buffer.commit")
        visit.page.click("#talk")
        visit.page.locator("#talk[data-state=idle]").wait_for()
        _, sounds = visit.saved()
        heard = visit.server.heard()
        assert np.array_equal(sounds["01_question.wav"], heard[200 * 24 : 900 * 24])
        assert visit.server.events[-1]["type"] == "input_audio_buffer.clear"


def test_after_a_new_connection_a_question_sounded_as_one_of_the_old(browser: Any) -> None:
    with visited(browser, Script(voice_starts_ms=200, voice_ends_ms=900, pace=0.1)) as visit:
        visit.wait_open()
        visit.page.click(".segments label:has-text('Hands-free')")
        visit.page.click("#talk")
        visit.wait_replied(1)
        visit.server.script.drop_after = "input_audio_buffer.append"
        visit.page.locator(".divider").wait_for()
        visit.server.script.drop_after = None
        visit.wait_open()
        visit.page.locator("#talk[data-state=idle]").wait_for()
        before = len(visit.server.heard())
        visit.page.click("#talk")
        visit.wait_replied(2)
        visit.page.click("#talk")
        visit.page.locator("#talk[data-state=idle]").wait_for()
        _, sounds = visit.saved()
        heard = visit.server.heard()[before:]
        assert np.array_equal(sounds["02_question.wav"], heard[200 * 24 : 900 * 24])


def test_listening_that_is_ended_within_a_question_asks_for_the_answer(browser: Any) -> None:
    with visited(browser, Script(voice_starts_ms=200, voice_ends_ms=10**6, pace=0.1)) as visit:
        visit.wait_open()
        visit.page.click(".segments label:has-text('Hands-free')")
        visit.page.click("#talk")
        visit.page.locator(".turn").wait_for()
        visit.wait_heard(1.0)
        visit.page.click("#talk")
        visit.wait_replied()
        kinds = [event["type"] for event in visit.server.events]
        assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]


def test_a_file_is_mixed_and_resampled(browser: Any, tmp_path: Any) -> None:
    times = np.arange(16_000) / 16_000
    tone = 8000 * np.sin(2 * np.pi * 440 * times)
    with visited(browser, Script(pace=0.1)) as visit:
        visit.wait_open()
        visit.page.select_option("#answer-language", "zh")
        visit.ask_by_file(tmp_path / "question.wav", np.stack([tone, 0 * tone], 1).astype(np.int16), 16_000)
        visit.wait_replied()
        assert visit.server.of("session.update")[-1]["session"]["cslm"]["answer_language"] == "zh"
        _, sounds = visit.saved()
        asked = sounds["01_question.wav"]
        assert len(asked) == RATE_HZ and np.array_equal(asked, visit.server.heard())
        assert np.abs(asked[2000:-2000] - tones(440, seconds=1.0)[2000:-2000] / 2).max() < 100


def test_a_late_piece_is_a_gap_that_is_counted_and_nothing_is_lost(browser: Any, tmp_path: Any) -> None:
    with visited(browser, Script(pace=0.2, stall_sec=2.5)) as visit:
        visit.wait_open()
        visit.ask_by_file(tmp_path / "question.wav")
        visit.wait_replied()
        player = visit.saved()[0]["turns"][0]["player"]
        sound = visit.server.sound()
        assert player["gaps"] >= 1 and player["starved"] > RATE_HZ // 2
        assert player["played"] == len(sound) and player["checksum"] == checksum(sound)
        visit.page.click(".times summary")
        visit.page.locator(".times .inside", has_text="of silence").wait_for(timeout=PATIENCE_MS)
