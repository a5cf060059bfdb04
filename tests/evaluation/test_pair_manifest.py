"""Manifests of pairs: all of them, or those of some kinds."""

from __future__ import annotations

import pytest

from cslm.errors import UserError
from cslm.evaluation.pair_manifest import read_pairs
from cslm.files.json_lines import write_json_lines


@pytest.fixture
def manifest(tmp_path):
    """Two pairs of topics and one of cloze."""
    rows = [
        {"id": f"{kind}-{number}", "kind": kind, "prefix": ["a"], "ending": "b", "wrong_ending": "c"}
        for kind, number in (("topic", 0), ("cloze", 0), ("topic", 1))
    ]
    write_json_lines(rows, tmp_path / "pairs.jsonl")
    return tmp_path / "pairs.jsonl"


def test_pairs_of_some_kinds_are_read_in_their_order(manifest):
    assert [pair.id for pair in read_pairs(manifest)] == ["topic-0", "cloze-0", "topic-1"]
    assert [pair.id for pair in read_pairs(manifest, ["topic"])] == ["topic-0", "topic-1"]


def test_a_kind_that_is_not_there_is_refused_by_name(manifest):
    with pytest.raises(UserError, match="no pair of the kind 'topics', but of topic, cloze"):
        read_pairs(manifest, ["topic", "topics"])
