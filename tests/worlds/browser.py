"""A headless Chromium whose microphone is a wav file, to test the page; skipped by name where there is none."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cslm.benchmarks.heard_pages import BROWSERS, microphone_arguments
from tests.worlds.scripted_server import RATE_HZ, Script, ScriptedServer

PATIENCE_MS = 60_000
"""for a machine that is busy: nothing here is timed"""


@contextlib.contextmanager
def launched(microphone: np.ndarray, folder: Path, rate_hz: int = RATE_HZ) -> Iterator[Any]:
    """A browser; its microphone gives this PCM16, once, from the moment that it is opened."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    wav = folder / "microphone.wav"
    soundfile.write(wav, microphone, rate_hz, subtype="PCM_16")
    arguments = microphone_arguments(f"{wav}%noloop")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """The page of a scripted server, and what a person does with it."""

    def __init__(self, page: Any, server: Any) -> None:
        self.page, self.server = page, server
        self.complaints: list[str] = []
        """errors of the page, and what its policy refused"""
        self.asked: list[str] = []
        """every address that was asked for"""

    def wait(self, condition: str) -> None:
        """For an expression of JavaScript to hold. The page's policy lets nothing be evaluated in it: it is asked."""
        for _ in range(PATIENCE_MS // 100):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"never: {condition}; the page shows {self.page.inner_text('body')!r}")

    def wait_open(self) -> None:
        self.page.locator("#connection[data-state=open]").wait_for(timeout=PATIENCE_MS)

    def wait_replied(self, number: int = 1) -> None:
        """Until the reply is over and has been played."""
        turn = f"document.querySelectorAll('.turn')[{number - 1}]"
        self.wait(f"/completed|cancelled|failed/.test({turn}?.dataset.status)")
        self.page.locator("#stop:disabled").wait_for(timeout=PATIENCE_MS)

    def wait_heard(self, seconds: float) -> None:
        """Until the server got so much of the microphone."""
        for _ in range(PATIENCE_MS // 50):
            if len(self.server.heard()) >= seconds * RATE_HZ:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{len(self.server.heard())} samples of the microphone came")

    def ask_by_file(self, path: Path, pcm: np.ndarray | None = None, rate_hz: int = RATE_HZ) -> None:
        soundfile.write(path, np.zeros(RATE_HZ, np.int16) if pcm is None else pcm, rate_hz, subtype="PCM_16")
        self.page.set_input_files("#file", str(path))

    def saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the button Download gives: the JSON, and the sounds by name."""
        with self.page.expect_download() as download:
            self.page.click("#save")
        files = zipfile.ZipFile(download.value.path())
        assert files.testzip() is None
        sounds = {}
        for name in files.namelist():
            if name.endswith(".wav"):
                sounds[name], rate = soundfile.read(io.BytesIO(files.read(name)), dtype="int16")
                assert rate == RATE_HZ
        return json.loads(files.read("conversation.json")), sounds


@contextlib.contextmanager
def visited(browser: Any, script: Script, address: str = "", **options: Any) -> Iterator[Visit]:
    """The page of a scripted server, open."""
    with (
        ScriptedServer(script).running() as server,
        opened(browser, server, server.address, address, **options) as visit,
    ):
        yield visit


@contextlib.contextmanager
def opened(browser: Any, server: Any, address: str, rest: str = "", **options: Any) -> Iterator[Visit]:
    """The page at an address; at the end, nothing may have been asked for elsewhere."""
    context = browser.new_context(accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    visit = Visit(page, server)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("console", lambda message: visit.complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: visit.asked.append(request.url))
    page.goto(address + rest)
    try:
        yield visit
    finally:
        context.close()
    assert [url for url in visit.asked if not url.startswith((address, "blob:"))] == []


def checksum(pcm: np.ndarray) -> int:
    """FNV-1a over PCM16, a sample at a time, as the worklet reckons it."""
    total = 0x811C9DC5
    for sample in pcm.astype(np.uint16).tolist():
        total = (total ^ sample) * 0x01000193 & 0xFFFFFFFF
    return total
