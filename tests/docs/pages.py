"""The pages of the project, and what stands in them: lines, links, blocks of code, commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("*.md", "docs/**/*.md", "recipes/**/*.md", "tools/*.md", "tokenizers/*.md")
PAGES = sorted(str(path.relative_to(ROOT)) for place in PLACES for path in ROOT.glob(place))
"""All pages, from the root on."""


class Command(NamedTuple):
    """A command of a page."""

    page: str
    words: list[str]

    @property
    def line(self) -> str:
        return " ".join(self.words)


def own_test(page: str) -> Path | None:
    """The tests that a page has for itself, by its name: ``test_textless_page.py`` of ``docs/textless.md``.

    Such tests run its commands and its Python in a world of their own.
    """
    path = Path(page)
    if path.name == "README.md" and len(path.parts) < 3:
        return None
    name = path.parent.name if path.name == "README.md" else path.stem
    found = [path for ending in ("", "_page") for path in (ROOT / "tests").rglob(f"test_{name}{ending}.py")]
    return next((it for it in found if Path(page).name in it.read_text(encoding="utf-8")), None)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code in a language, without the indent of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(True)) for indent, text in found]


def commands(page: str) -> list[Command]:
    """Every command of a page as the shell would split it; a loop is one."""
    found = []
    for block in blocks(page, "bash"):
        joined = block.replace("\\\n", " ")
        lines = [joined.replace("\n", " ")] if joined.startswith("for ") else joined.splitlines()
        found += [Command(page, words) for line in lines if (words := shlex.split(line, comments=True))]
    return found


def without_code(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def anchors(page: str) -> set[str]:
    """What the headings of a page are called in links, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), flags=re.MULTILINE)
    shown = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in shown}


class Link(NamedTuple):
    """A link into the project."""

    page: str
    target: str
    """from the root on"""
    anchor: str


def links(page: str) -> list[Link]:
    """The links of a page that lead into the project."""
    found = []
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", without_code(page)):
        path = (ROOT / page).parent / target if target else ROOT / page
        found.append(Link(page, str(path.resolve().relative_to(ROOT)), anchor))
    return found
