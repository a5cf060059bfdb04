"""Pages are short lines, lead to what exists, and are all a click or two from the README."""

from __future__ import annotations

import configparser
import re

import pytest

from cslm.codecs.families import FAMILIES
from cslm.decoder.vocoders import VOCODERS
from cslm.evaluation.ears import EARS
from cslm.evaluation.scores import SCORES
from cslm.model.extension import INITIALISATIONS
from cslm.sequences.chains import CHAINS
from cslm.sequences.tasks import TASKS
from cslm.synthesis.prepare_corpus import CORPORA
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


DICTIONARIES = {
    "docs/corpora.md": CORPORA,
    "docs/mixture_and_sources.md": TASKS,
    "docs/packing_and_memory.md": [path.name for path in (ROOT / "recipes" / "deepspeed").glob("*.json")],
    "docs/replies.md": CHAINS,
    "docs/scores.md": {**SCORES, **EARS},
    "docs/speech_tokenizers.md": FAMILIES,
    "docs/streaming.md": VOCODERS,
    "docs/training_a_part.md": INITIALISATIONS,
    "recipes/README.md": [path.name for path in (ROOT / "recipes").glob("*.py")],
    "tokenizers/README.md": [path.stem for path in (ROOT / "tokenizers").glob("*.yaml")],
}
"""What a page has a word on, entry by entry."""


@pytest.mark.parametrize("page", DICTIONARIES)
def test_every_entry_has_its_word_on_the_page(page):
    told = text_of(page)
    assert [name for name in DICTIONARIES[page] if f"`{name}`" not in told] == []


def test_every_tool_and_every_extra_is_told():
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    extras, page = metadata["options.extras_require"], text_of("docs/install.md")
    assert [name for name in extras if f"`{name}`" not in page] == []
    tools, page = (ROOT / "tools").glob("*.py"), text_of("tools/README.md")
    assert [path.name for path in tools if f"`{path.name}`" not in page and not path.name.startswith("bench_")] == []
    benchmarks, page = (ROOT / "tools").glob("bench_*.py"), text_of("docs/figures.md")
    assert [path.name for path in benchmarks if path.name not in page] == []


def test_every_figure_has_its_command_machine_and_seeds():
    """A row of the first table for each heading that is a link of it, and in each row nothing is left open."""
    page = text_of("docs/figures.md")
    rows = [line.strip("|").split("|") for line in page.splitlines() if re.match(r"\| \[", line)]
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    assert len(rows) == len(headings) > 10
    assert [row for row in rows if len(row) != 4 or not all(cell.strip() for cell in row)] == []
