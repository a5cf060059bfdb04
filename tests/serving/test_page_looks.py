"""Everyone can use the page: names, contrast, a phone's width, a keyboard; nothing comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from tests.worlds.browser import launched, visited
from tests.worlds.scripted_server import PAGE, Chunk, Script, tones

LONG = Chunk("a" * 200, list(range(300)), tones(440))
# Relative luminance of every text that is shown against what lies behind it (WCAG 2): the lowest contrast, and where.
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const left_out = !node.checkVisibility() || node.closest(":disabled, template, .sr");
    if (!walker.currentNode.textContent.trim() || left_out) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(numbers(node instanceof SVGElement ? style.fill : style.color)), light(behind(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < worst[0]) worst = [contrast, walker.currentNode.textContent.trim().slice(0, 40)];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with launched(tones(300), tmp_path_factory.mktemp("microphone")) as found:
        yield found


def ask_and_open_all(visit: Any, folder: Path) -> None:
    visit.wait_open()
    visit.ask_by_file(folder / "question.wav")
    visit.wait_replied()
    for part in (".times", ".sequence"):
        visit.page.click(f"{part} summary")


def test_a_phone_is_wide_enough(browser: Any, tmp_path: Path) -> None:
    with visited(browser, Script(chunks=[LONG, LONG], pace=0.1), viewport={"width": 360, "height": 720}) as visit:
        visit.wait_open()
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 360
        ask_and_open_all(visit, tmp_path)
        visit.page.click(".settings summary")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 360
        for name in ("#talk", "#stop", ".dock .file", "#save", "#fresh", ".settings .panel"):
            box = visit.page.locator(name).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 360, name
            assert box["height"] >= 40, name  # a thumb's


IN_VIEW = """document.querySelector('#turns').lastElementChild.getBoundingClientRect().bottom
  <= document.querySelector('#composer').getBoundingClientRect().top"""


def test_on_a_phone_the_second_answer_grew_out_of_sight(browser: Any, tmp_path: Path) -> None:
    phone = {"width": 390, "height": 700}
    with visited(browser, Script(chunks=[LONG, LONG], pace=0.1), viewport=phone) as visit:
        for number in (1, 2):
            visit.wait_open()
            visit.ask_by_file(tmp_path / "question.wav")
            visit.wait_replied(number)
        visit.wait(IN_VIEW)
        visit.page.evaluate("document.documentElement.scrollTop = 0")  # who reads above is left there
        visit.page.wait_for_timeout(200)
        visit.page.evaluate("document.querySelector('#turns').lastElementChild.style.paddingBottom = '50px'")
        visit.page.wait_for_timeout(200)
        assert visit.page.evaluate("document.documentElement.scrollTop") == 0


BOXES = """(() => {
  const box = (element) => element.getBoundingClientRect();
  const words = [...document.querySelectorAll('.line text')].map((text) => [box(text).x, box(text).height]);
  return { words, left: box(document.querySelector('.line')).x };
})()"""


def test_on_a_phone_the_words_of_the_time_line_were_six_pixels_high(browser: Any, tmp_path: Path) -> None:
    with visited(browser, Script(pace=0.1), viewport={"width": 390, "height": 700}) as visit:
        ask_and_open_all(visit, tmp_path)
        visit.wait("document.querySelector('.line text')")
        boxes = visit.page.evaluate(BOXES)  # at once: the line is drawn anew while the answer plays
        assert min(height for _, height in boxes["words"]) >= 10
        assert min(x for x, _ in boxes["words"]) >= boxes["left"]


def test_an_answer_without_words_said_nothing(browser: Any, tmp_path: Path) -> None:
    for chunks, said in (([Chunk("", [1], tones(440))], "spoke, and wrote no words"), ([], "answered nothing")):
        with visited(browser, Script(chunks=chunks, pace=0.1)) as visit:
            visit.wait_open()
            visit.ask_by_file(tmp_path / "question.wav")
            visit.wait_replied()
            visit.wait("document.querySelector('.note').textContent !== ''")
            assert said in visit.page.text_content(".note")


def test_the_settings_stayed_open_over_the_conversation(browser: Any) -> None:
    with visited(browser, Script()) as visit:
        visit.wait_open()
        visit.page.click(".settings summary")
        visit.page.focus("#theme")
        visit.page.keyboard.press("Escape")
        assert visit.page.evaluate("document.querySelector('.settings').open") is False
        assert visit.page.evaluate("document.activeElement.tagName") == "SUMMARY"
        visit.page.click(".settings summary")
        visit.page.mouse.click(200, 450)
        assert visit.page.evaluate("document.querySelector('.settings').open") is False


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Any, tmp_path: Path, scheme: str) -> None:
    with visited(browser, Script(pace=0.1, thoughts=(("core_question", "x"),)), color_scheme=scheme) as visit:
        ask_and_open_all(visit, tmp_path)
        visit.page.click(".settings summary")
        visit.page.evaluate("document.querySelector('.chunk').classList.add('playing')")
        contrast, text = visit.page.evaluate(CONTRAST)
        assert contrast >= 4.5, text
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", background))) < 60) == (scheme == "dark")


def test_the_setting_of_colours_is_stronger_than_the_system(browser: Any) -> None:
    with visited(browser, Script(), color_scheme="light") as visit:
        visit.wait_open()
        visit.page.click(".settings summary")
        visit.page.select_option("#theme", "dark")
        assert visit.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
        visit.page.reload()
        assert visit.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_everything_that_can_be_used_has_a_name(browser: Any, tmp_path: Path) -> None:
    with visited(browser, Script(pace=0.1)) as visit:
        ask_and_open_all(visit, tmp_path)
        tree = visit.page.context.new_cdp_session(visit.page).send("Accessibility.getFullAXTree")["nodes"]
        roles: dict[str, list[str]] = {}
        for node in tree:
            if not node.get("ignored"):
                name = node.get("name", {}).get("value", "")
                roles.setdefault(node["role"]["value"], []).append(name)
        named = ("button", "combobox", "radio", "checkbox", "image", "form", "article")
        used = [role for role in named if role in roles]
        assert "button" in used and "combobox" in used and "radio" in used
        assert {role: names for role in used if "" in (names := roles[role])} == {}
        assert "Play the answer of turn 1, 2.0 seconds" in roles["button"]
        assert visit.page.inner_text("#announce") == "Heard: What does Anna do?"  # said to who cannot see it


def test_the_keyboard_reaches_everything(browser: Any, tmp_path: Path) -> None:
    with visited(browser, Script(pace=0.1)) as visit:
        ask_and_open_all(visit, tmp_path)
        visit.page.evaluate("document.activeElement.blur()")
        reached = set()
        for _ in range(40):
            visit.page.keyboard.press("Tab")
            reached.add(visit.page.evaluate("document.activeElement.id || document.activeElement.className"))
        names = {"save", "fresh", "quiet replay", "question-language", "answer-language", "file", "talk", "ids"}
        assert names <= reached
        assert "skip" in reached


def test_the_page_asks_for_nothing_from_elsewhere_and_holds_no_script() -> None:
    index = (PAGE / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="([^"]*)"', index)
    assert named and all(name.startswith("#") or (PAGE / name).is_file() for name in named)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", index)
    for path in PAGE.glob("*"):
        text = path.read_text(encoding="utf-8")
        outside = [url for url in re.findall(r"https?://[^\s\"'`)]+", text) if url != "http://www.w3.org/2000/svg"]
        assert outside == [], path.name
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert (PAGE / name).is_file(), f"{path.name} imports {name}"
        assert not re.search(r"\beval\(|new Function|innerHTML|document\.write", text), path.name
