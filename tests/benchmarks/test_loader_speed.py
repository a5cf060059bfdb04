"""The measure of loading, on a corpus that takes seconds."""

from __future__ import annotations

from cslm.benchmarks.loader_speed import _stream, loader_speed
from cslm.benchmarks.paper_mixture import MIXTURE


def test_the_corpus_has_the_lengths_and_shares_of_the_mixture(tmp_path, monkeypatch):
    monkeypatch.setenv("CSLM_CACHE", str(tmp_path / "cache"))
    stream, lengths = _stream(tmp_path, 60, 20_000), {}
    for slot in range(3000):
        name, document = stream.document(slot)
        lengths.setdefault(name, []).append(len(document))
    total = sum(map(sum, lengths.values()))
    for name, kind in MIXTURE.items():
        assert 0.7 < sum(lengths[name]) / len(lengths[name]) / kind.mean < 1.3
        assert abs(sum(lengths[name]) / total - kind.tokens / sum(kind.tokens for kind in MIXTURE.values())) < 0.03


def test_figures_come_out():
    found = loader_speed(num_tokens=20_000, documents_per_source=60, tokens_per_step=5_000)
    assert min(found.values()) > 0
