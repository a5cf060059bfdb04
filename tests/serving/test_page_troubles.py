"""What goes wrong is said in words, and the page goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from tests.worlds.browser import launched, visited
from tests.worlds.scripted_server import Script, tones


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with launched(tones(300), tmp_path_factory.mktemp("microphone")) as found:
        yield found


def said(visit: Any, words: str) -> None:
    """The alert says it, and is there to be heard."""
    visit.wait(f"document.getElementById('alert-text').textContent.includes({words!r})")
    assert visit.page.get_attribute("#alert", "role") == "alert" and visit.page.is_visible("#alert")


ASKED = """() => {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const allowed = new Promise((resolve) => (window.allow = resolve));
  window.asked = 0;
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    window.asked += 1;
    await allowed;
    return (window.given = await open(wanted));
  };
}"""
"""The browser asks whether the page may hear, until it is allowed."""


@pytest.mark.parametrize(
    ("name", "words"),
    [("NotAllowedError", "was refused"), ("NotFoundError", "No microphone"), ("NotReadableError", "holds the")],
)
def test_a_microphone_that_does_not_open(browser: Any, name: str, words: str) -> None:
    with visited(browser, Script()) as visit:
        visit.wait_open()
        visit.page.evaluate(
            f"void (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', '{name}')))"
        )
        visit.page.keyboard.down("Space")
        said(visit, words)
        visit.page.keyboard.up("Space")
        visit.wait("document.querySelectorAll('.turn').length === 0")
        assert visit.page.is_enabled("#talk") and visit.page.is_enabled("#file")
        assert visit.server.of("input_audio_buffer.commit") == []


def test_an_address_that_may_not_use_the_microphone(browser: Any) -> None:
    with visited(browser, Script()) as visit:
        visit.wait_open()
        visit.page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
        visit.page.keyboard.down("Space")
        said(visit, "https and on localhost alone")
        visit.page.keyboard.up("Space")
        visit.wait("document.querySelectorAll('.turn').length === 0")
        assert visit.page.is_enabled("#talk") and visit.page.is_enabled("#file")
        assert visit.server.of("input_audio_buffer.commit") == []


def test_a_second_press_while_the_browser_asks_opened_a_second_microphone(browser: Any) -> None:
    with visited(browser, Script()) as visit:
        visit.wait_open()
        visit.page.click(".segments label:has-text('Hands-free')")
        visit.page.evaluate(ASKED)
        visit.page.click("#talk")
        visit.page.locator("#talk[data-state=opening]").wait_for()
        visit.page.click("#talk")
        visit.page.evaluate("void window.allow()")
        visit.page.locator("#talk[data-state=on]").wait_for()
        visit.wait_heard(0.1)
        assert visit.page.evaluate("window.asked") == 1
        visit.page.click("#talk")
        visit.page.locator("#talk[data-state=idle]").wait_for()


def test_a_microphone_that_goes_away_ends_the_question(browser: Any) -> None:
    """It went on as if somebody kept silent."""
    with visited(browser, Script(pace=0.1)) as visit:
        visit.wait_open()
        visit.page.evaluate(ASKED)
        visit.page.evaluate("void window.allow()")
        visit.page.keyboard.down("Space")
        visit.page.locator("#talk[data-state=on]").wait_for()
        visit.wait_heard(0.5)
        visit.page.evaluate("void window.given.getTracks()[0].dispatchEvent(new Event('ended'))")
        said(visit, "went away")
        visit.page.keyboard.up("Space")
        visit.wait_replied()
        assert len(visit.server.of("response.create")) == 1


def test_a_question_of_no_length_is_taken_back(browser: Any) -> None:
    with visited(browser, Script()) as visit:
        visit.wait_open()
        visit.page.evaluate("document.getElementById('talk').click(); document.getElementById('talk').click()")
        said(visit, "too short")
        assert visit.page.locator(".turn").count() == 0
        assert visit.server.of("response.create") == []


def test_a_full_server_is_tried_again(browser: Any) -> None:
    script = Script(refuse=503)
    with visited(browser, script) as visit:
        said(visit, "The server is full.")
        assert visit.page.is_disabled("#talk")
        script.refuse = None
        visit.page.click("text=Connect now")
        visit.wait_open()
        assert visit.page.is_hidden("#alert") and visit.page.is_enabled("#talk")


def test_a_foreign_origin_is_told(browser: Any) -> None:
    with visited(browser, Script(refuse=403)) as visit:
        said(visit, "does not take this page")
        assert "allowed origins are others" in visit.page.inner_text("#alert-text")


def test_a_token_that_is_missing_or_wrong_is_asked_for(browser: Any) -> None:
    with visited(browser, Script(token="0123456789abcdef"), "#token=wrong") as visit:
        visit.page.locator("#token[open]").wait_for()
        assert "The token is wrong." in visit.page.inner_text("#token-text")
        assert visit.page.evaluate("document.activeElement.id") == "token-value"
        visit.page.fill("#token-value", "0123456789abcdef")
        visit.page.keyboard.press("Enter")
        visit.wait_open()
        assert "#" not in visit.page.url
        visit.page.reload()  # it stays in this tab
        visit.wait_open()


def test_a_connection_that_closes_is_opened_again(browser: Any, tmp_path: Any) -> None:
    script = Script(drop_after="response.create")
    with visited(browser, script) as visit:
        visit.wait_open()
        visit.ask_by_file(tmp_path / "question.wav")
        visit.page.locator(".turn[data-status=lost]").wait_for()
        script.drop_after = None
        visit.wait_open()
        visit.page.locator(".divider").wait_for()
        assert "has forgotten" in visit.page.inner_text(".divider")
        visit.ask_by_file(tmp_path / "question.wav")
        visit.wait_replied(2)
        assert visit.page.locator(".turn[data-status=completed]").count() == 1


def test_a_reply_that_fails(browser: Any, tmp_path: Any) -> None:
    with visited(browser, Script(status="failed")) as visit:
        visit.wait_open()
        visit.ask_by_file(tmp_path / "question.wav")
        visit.wait_replied()
        assert visit.page.inner_text(".note") == "The reply failed. server_error"


def test_a_file_that_is_no_sound_or_too_long(browser: Any, tmp_path: Any) -> None:
    with visited(browser, Script()) as visit:
        visit.wait_open()
        (tmp_path / "note.wav").write_text("no sound")
        visit.page.set_input_files("#file", str(tmp_path / "note.wav"))
        said(visit, "note.wav: the browser cannot read this as sound")
        visit.ask_by_file(tmp_path / "long.wav", tones(100, seconds=61.0)[::6], 4000)
        said(visit, "long.wav lasts 61 s: the server hears 60 s at most")
        assert visit.server.of("input_audio_buffer.append") == []


def test_what_a_model_says_never_becomes_markup(browser: Any, tmp_path: Any) -> None:
    with visited(browser, Script(transcript="<img src=x onerror=alert(1)>")) as visit:
        visit.wait_open()
        visit.ask_by_file(tmp_path / "question.wav")
        visit.wait_replied()
        assert visit.page.inner_text(".question .text") == "<img src=x onerror=alert(1)>"
        visit.page.click(".sequence summary")
        assert visit.page.locator(".turn img").count() == 0 and visit.complaints == []
