"""Pages are short lines, lead to what exists, and are all a click or two from the README."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, text_of

LONGEST = 120


def is_free(line: str) -> bool:
    """A row of a table, or one word that cannot be broken: an address."""
    return line.lstrip().startswith("|") or len(line.split()) == 1


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page):
    lines = text_of(page).splitlines()
    long = [(number, len(line)) for number, line in enumerate(lines, 1) if len(line) > LONGEST and not is_free(line)]
    assert long == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    found = links(page)
    assert [link for link in found if not (ROOT / link.target).exists()] == []
    into_pages = [link for link in found if link.anchor and link.target.endswith(".md")]
    assert [link for link in into_pages if link.anchor not in anchors(link.target)] == []


def test_every_page_is_a_click_or_two_from_the_readme():
    """A page that joins is named in the README, in docs/README.md, or in another page that the README names."""
    one = {link.target for link in links("README.md")}
    two = {link.target for page in one & {*PAGES} for link in links(page)}
    assert [page for page in PAGES if page not in one | two | {"README.md"}] == []


@pytest.mark.parametrize(
    "target",
    [
        *("docs/install.md", "docs/first_run.md", "docs/own_corpus.md", "docs/figures.md", "recipes/paper/README.md"),
        *(f"docs/adding.md#a-{what}" for what in ("codec", "task", "chain-of-modality", "score", "corpus", "language")),
    ],
)
def test_what_is_looked_for_first_is_one_click_from_the_readme(target):
    assert target in {f"{link.target}#{link.anchor}".rstrip("#") for link in links("README.md")}


def test_the_index_of_docs_names_every_page_of_it():
    named = {link.target for link in links("docs/README.md")}
    assert [page for page in PAGES if page.startswith("docs/") and page not in named | {"docs/README.md"}] == []


def test_every_figure_has_its_command_machine_and_seeds():
    """A row of the first table for each heading that is a link of it, and in each row nothing is left open."""
    page = text_of("docs/figures.md")
    rows = [line.strip("|").split("|") for line in page.splitlines() if re.match(r"\| \[", line)]
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    assert len(rows) == len(headings) > 10
    assert [row for row in rows if len(row) != 4 or not all(cell.strip() for cell in row)] == []
