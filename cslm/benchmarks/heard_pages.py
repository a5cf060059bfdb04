"""The page in a browser on a server of this process: how much later than it was made is the first sound there?

Headless Chromium asks through its microphone, which gives one question again and again: the button is held for as long
as the question lasts. Each reply is a conversation of its own. Times are in milliseconds after the end of the question,
made on the server's clock (``time.monotonic``) and on the page's (``performance.now``), which begin with the message
that ends the question, on either side of the connection.

- ``made``: the server's decoder has made the first sound. ``received``: the page has the message with it. ``played``:
  the worklet plays it, with what the device takes.
- ``received_minus_made``: what the connection and the page cost. ``played_minus_received``: the player's buffer and the
  device. ``played_minus_made``: both.
- ``gaps``: of the player, by reply.

``cold`` is the first reply of the page.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cslm.audio.waveform import load_waveform, resample
from cslm.benchmarks.timed_reply import Asked, spread
from cslm.errors import MissingExtraError, UserError
from cslm.generation.processor import mono_float
from cslm.serving.limits import LimitsConfig
from cslm.serving.received_audio import PCM_RATE_HZ
from cslm.serving.running_server import LOCAL_NAMES, RunningServer, ServerOptions, worth_a_process

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_MS = 120_000
_PAUSE_SEC = 0.3  # of silence behind the question


def heard_pages(model: Any, asked: Asked, max_new_tokens: int, num_replies: int) -> dict[str, Any]:
    """The figures of this module.

    Raises:
        MissingExtraError: playwright is not installed.
        UserError: there is no browser.
    """
    limits = LimitsConfig(max_new_tokens=max_new_tokens)
    options = ServerOptions(port=0, hosts=LOCAL_NAMES, limits=limits, decoder_process=worth_a_process(model))
    given = asked.question
    samples, rate = given if isinstance(given, tuple) else load_waveform(given)
    question = resample(mono_float(samples), rate, PCM_RATE_HZ)
    with RunningServer(model, "measured", options).in_background() as server, _page(question) as page:
        page.goto(f"http://127.0.0.1:{server.port}/")
        turns = [_ask(page, asked, len(question) / PCM_RATE_HZ) for _ in range(num_replies)]
    return page_figures(turns)


def page_figures(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Of turns as the page saves them, the first of them cold."""
    there = [{"made": turn["server_ms"]["first_audio"], "received": turn["page_ms"]["audio"],
              "played": turn["page_ms"]["played"], "gaps": turn["player"]["gaps"]}
             for turn in turns if "played" in turn["page_ms"]]  # fmt: skip
    for one in there:
        one["received_minus_made"] = one["received"] - one["made"]
        one["played_minus_received"] = one["played"] - one["received"]
        one["played_minus_made"] = one["played"] - one["made"]
    warm = there[1:]
    return {
        "clock": "time.monotonic and performance.now, from the end of the question",
        "num_replies": len(turns),
        "num_heard": len(there),
        "cold": there[0] if there else None,
        "warm": {name: spread([one[name] for one in warm]) for name in warm[0]} if warm else None,
    }


def microphone_arguments(wav: str) -> list[str]:
    """How Chromium is started with a recording as its microphone; ``FILE.wav%noloop`` plays it once."""
    return [
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={wav}",
        "--autoplay-policy=no-user-gesture-required",
    ]


@contextmanager
def _page(question: np.ndarray) -> Iterator[Any]:
    """A page of a browser whose microphone gives a question at 24 kHz, over and over."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise MissingExtraError("playwright", "dev", "the page in a browser") from None
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise UserError(f"there is no browser: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory(prefix="cslm-microphone-") as folder, sync_playwright() as driver:
        wav = Path(folder) / "question.wav"
        sound = np.concatenate([question, np.zeros(round(_PAUSE_SEC * PCM_RATE_HZ), np.float32)])
        soundfile.write(wav, sound, PCM_RATE_HZ, subtype="PCM_16")
        browser = driver.chromium.launch(executable_path=found, args=microphone_arguments(str(wav)))
        try:
            page = browser.new_page(accept_downloads=True)
            page.set_default_timeout(_PATIENCE_MS)
            yield page
        finally:
            browser.close()


def _ask(page: Any, asked: Asked, question_sec: float) -> dict[str, Any]:
    """Hold the button for a question, wait until its reply was played, and read what the page saved."""
    page.locator("#connection[data-state=open]").wait_for()
    page.select_option("#question-language", asked.question_language)
    page.select_option("#answer-language", asked.answer_language)
    page.locator("#talk:enabled").hover()
    page.mouse.down()
    page.locator("#talk[data-state=on]").wait_for()
    page.wait_for_timeout(1000 * question_sec)
    page.mouse.up()
    _wait(page, "/completed|incomplete|cancelled|failed/.test(document.querySelector('.turn')?.dataset.status)")
    page.locator("#stop:disabled").wait_for()
    with page.expect_download() as download:
        page.click("#save")
    (turn,) = json.loads(zipfile.ZipFile(download.value.path()).read("conversation.json"))["turns"]
    page.click("#fresh")
    _wait(page, "document.querySelector('.turn') === null")
    found: dict[str, Any] = turn
    return found


def _wait(page: Any, condition: str) -> None:
    """For an expression to hold; it is asked again and again, since the page's policy lets nothing be evaluated."""
    for _ in range(_PATIENCE_MS // 50):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise RuntimeError(f"the page never had: {condition}; it shows {page.inner_text('body')!r}")
