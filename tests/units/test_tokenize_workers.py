"""The same store, whoever tokenizes: one process, several, or a Ray cluster that loses a node."""

from __future__ import annotations

import os
import threading
import time

import pytest

from cslm.errors import UserError
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from tests.worlds.small_corpus import contents, write_corpus

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
from ray.cluster_utils import Cluster  # noqa: E402


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Enough shards that a node can be lost while others are still to be done."""
    return write_corpus(tmp_path_factory.mktemp("many"), 160)


def test_a_cluster_that_loses_a_node_makes_the_same_store(many, card, tmp_path, monkeypatch):
    monkeypatch.chdir(many.parent)  # relative paths mean the same to workers elsewhere
    os.symlink(card, "card.yaml")
    os.symlink(card.with_suffix(".safetensors"), "card.safetensors")

    def config(output, **options):
        return TokenizeCorpusConfig([many.name], "card.yaml", str(tmp_path / output), 1, 2, **options)

    tokenize_corpus(config("whole"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        doomed, _ = (cluster.add_node(num_cpus=1) for _ in range(2))
        lost: list[float] = []

        def lose_a_node() -> None:
            while len(list((tmp_path / "ray" / ".progress").glob("*.json"))) < 5:
                time.sleep(0.01)
            cluster.remove_node(doomed, allow_graceful=False)
            lost.append(time.monotonic())

        killer = threading.Thread(target=lose_a_node)
        killer.start()
        tokenize_corpus(config("ray", engine="ray", ray_address=cluster.address))
        finished = time.monotonic()
        killer.join()
    finally:
        cluster.shutdown()
    assert lost[0] < finished
    assert contents(tmp_path / "ray") == contents(tmp_path / "whole")


def test_engines_that_are_not_there(many, card, tmp_path):
    given = ([str(many)], str(card), str(tmp_path / "s"))
    with pytest.raises(UserError, match="local or ray, not 'spark'"):
        tokenize_corpus(TokenizeCorpusConfig(*given, engine="spark"))
