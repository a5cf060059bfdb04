"""The page on the real server, with a tiny model: the reply that is shown and played is that of the model offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cslm.generation.decoding import DecodingConfig
from tests.worlds.browser import checksum, launched, opened
from tests.worlds.served import LIMITS
from tests.worlds.tiny_checkpoint import tone

QUESTION = np.round(tone(0.6, 24000) * 32767).astype(np.int16)
SHORT = DecodingConfig(max_new_tokens=LIMITS["max_new_tokens"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    spoken = np.concatenate([np.zeros(12_000, np.int16), QUESTION, QUESTION, np.zeros(48_000, np.int16)])
    with launched(spoken, tmp_path_factory.mktemp("microphone")) as found:
        yield found


def test_a_file_is_answered_as_offline(browser: Any, server: Any, address: str, speaking: Any, tmp_path: Path) -> None:
    with opened(browser, server, f"http://{address}/") as visit:
        visit.wait_open()
        visit.page.select_option("#question-language", "en")
        visit.page.select_option("#answer-language", "zh")
        visit.ask_by_file(tmp_path / "question.wav", QUESTION)
        visit.wait("/completed|incomplete|failed/.test(document.querySelector('.turn')?.dataset.status)")
        visit.page.locator("#stop:disabled").wait_for()
        saved, sounds = visit.saved()
        (turn,) = saved["turns"]
        offline = speaking.respond((QUESTION.astype(np.float32) / 32768, 24000), "zh", "en", SHORT)
        assert turn["answer"] == offline.answer and turn["languages"] == ["en", "zh"]
        assert turn["question_units"] == offline.question_units.ids[:, 0].tolist()
        units = [unit for _, part in offline.segments for unit in part.ids[:, 0].tolist()]
        assert [unit for chunk in turn["chunks"] for unit in chunk["units"]] == units and units
        sound = sounds["01_answer.wav"]
        assert turn["player"]["played"] == len(sound) > 0 and turn["player"]["checksum"] == checksum(sound)
        assert {"heard", "first_audio", "end"} <= set(turn["server_ms"])
        assert {"audio", "played", "over"} <= set(turn["page_ms"])
        assert turn["sequence"]["ids"] and "<sosp>" in turn["sequence"]["reply"]
        assert visit.complaints == []


def test_hands_free_a_spoken_question_is_answered(browser: Any, server: Any, address: str) -> None:
    with opened(browser, server, f"http://{address}/") as visit:
        visit.wait_open()
        visit.page.click(".segments label:has-text('Hands-free')")
        visit.page.click("#talk")
        visit.wait("/completed|incomplete/.test(document.querySelector('.turn')?.dataset.status)")
        visit.page.click("#talk")
        visit.page.locator("#stop:disabled").wait_for()
        _, sounds = visit.saved()
        asked = sounds["01_question.wav"]
        assert len(asked) > 24_000 and np.abs(asked).max() > 500
        assert visit.complaints == []
