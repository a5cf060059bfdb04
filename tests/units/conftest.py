from __future__ import annotations

from pathlib import Path

import pytest

from tests.units.small_corpus import fit_card, write_corpus


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stores are unpacked below the test's own folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CSLM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 23 good utterances."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def card(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A card of 16 units fitted on the corpus."""
    return fit_card(corpus, tmp_path_factory.mktemp("card") / "card.yaml")
