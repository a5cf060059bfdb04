"""The trials of tokenize-corpus, on a corpus that takes seconds."""

from __future__ import annotations

import json

import pytest

from cslm.audio.waveform import save_waveform
from cslm.benchmarks import tokenizing_trials
from cslm.corpora.manifest import Utterance, write_manifest
from tests.worlds.small_corpus import RATE_HZ, fit_card, glide


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A card, and a manifest of 40 utterances of two to five seconds."""
    folder = tmp_path_factory.mktemp("corpus")
    utterances = []
    for index in range(40):
        save_waveform(folder / f"{index}.wav", glide(index, 2 + index % 4), RATE_HZ)
        utterances.append(Utterance(f"u{index}", f"{index}.wav", f"tone {index}", "en"))
    write_manifest(utterances, folder / "m.jsonl")
    return str(fit_card(folder / "m.jsonl", folder / "card.yaml")), str(folder / "m.jsonl")


def test_a_store_that_differs_is_seen(corpus, tmp_path, monkeypatch):
    row = tokenizing_trials.kills(*corpus, tmp_path, count=2)
    assert (row["kills"], row["byte_identical"], len(row["shards_done_when_killed"])) == (2, 2, 2)
    (tmp_path / "whole" / "rejected.jsonl").write_text("{}\n")
    other = tokenizing_trials._digests(tmp_path / "whole")
    assert other != tokenizing_trials._digests(tmp_path / "killed-0")


def test_files_in_good_and_broken_order(corpus, tmp_path):
    row = tokenizing_trials.broken(*corpus, tmp_path, count=24)
    assert row == {"good": 24, "in_the_store": 24, "broken": 24, "named": 24}


def test_odd_files_are_read_and_noted(corpus, tmp_path):
    row = tokenizing_trials.odd(*corpus, tmp_path, count=7)
    assert row.pop("seconds_each") == pytest.approx(1, abs=0.05)
    assert row == {"odd": 7, "in_the_store": 7, "to_be_noted": 3, "noted": 3}


def test_figures_of_the_whole_tool(corpus, tmp_path):
    row = tokenizing_trials.speed(*corpus, tmp_path)
    header = json.loads((tmp_path / "s" / "header.json").read_text())
    assert row["audio_hours"] * 3600 == pytest.approx(header["audio_sec"])
    assert row["times_real_time"] == pytest.approx(header["audio_sec"] / (row["tokenize_sec"] + row["verify_sec"]))


def test_memory_and_start_on_manifests_of_short_utterances(corpus, tmp_path):
    row = tokenizing_trials.memory(*corpus, tmp_path, counts=(10, 30))
    assert row["peak_mib_at_10"] <= row["peak_mib_at_30"] * 1.2
    row = tokenizing_trials.start(*corpus, tmp_path, count=50)
    assert 0 < row["first_batch_after_sec"] <= row["first_shard_after_sec"]
