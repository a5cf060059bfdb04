"""Manifests, audio and stores at fsspec URLs: the same bytes as in a folder."""

from __future__ import annotations

import fsspec
import pytest

from cslm.errors import UserError
from cslm.units.store import UnitStore
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from cslm.units.verify import VerifyConfig, verify
from tests.worlds.small_corpus import contents


@pytest.fixture
def memory(corpus):
    """The corpus in fsspec's file system in memory."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    for name, content in contents(corpus.parent).items():
        files.pipe(f"/corpus/{name}", content)
    yield files
    files.store.clear()


def test_from_a_url_to_a_url(memory, corpus, card, tmp_path):
    tokenize_corpus(TokenizeCorpusConfig([str(corpus)], str(card), str(tmp_path / "s"), 1, 6))
    config = TokenizeCorpusConfig(["memory://corpus/manifest.jsonl"], str(card), "memory://out/s", 1, 6)
    assert tokenize_corpus(config) is not None
    found = {name.removeprefix("/out/s/"): memory.cat(name) for name in memory.find("/out/s")}
    assert found == contents(tmp_path / "s")
    assert tokenize_corpus(config) is not None  # is already complete
    store = UnitStore.open("memory://out/s")
    assert store.row(2).units.ids.tolist() == UnitStore.open(tmp_path / "s").row(2).units.ids.tolist()
    verify(VerifyConfig("memory://out/s", str(card), [str(corpus)]))


def test_a_stopped_run_at_a_url_goes_on(memory, corpus, card, tmp_path):
    given = (["memory://corpus/manifest.jsonl"], str(card), "memory://out/t", 1, 6)
    assert tokenize_corpus(TokenizeCorpusConfig(*given, shard="1/2")) is None
    made = {name: memory.info(name)["created"] for name in memory.find("/out/t") if name.endswith("parquet")}
    assert len(made) == 2
    assert tokenize_corpus(TokenizeCorpusConfig(*given)) is not None
    assert all(memory.info(name)["created"] == when for name, when in made.items())
    assert not [name for name in memory.find("/out/t") if ".progress" in name]


def test_processes_that_write_to_a_url(corpus, card, tmp_path):
    """file:// is a URL to fsspec: the way to test one across processes."""
    tokenize_corpus(TokenizeCorpusConfig([str(corpus)], str(card), str(tmp_path / "s"), 1, 6))
    tokenize_corpus(TokenizeCorpusConfig([f"file://{corpus}"], str(card), f"file://{tmp_path}/u", 2, 6))
    assert contents(tmp_path / "u") == contents(tmp_path / "s")


def test_urls_that_cannot_be_read(card, tmp_path):
    for manifest in ("memory://nowhere/m.jsonl", "nosuch://x/m.jsonl"):
        with pytest.raises(UserError, match="cannot be opened"):
            tokenize_corpus(TokenizeCorpusConfig([manifest], str(card), str(tmp_path / "s")))
