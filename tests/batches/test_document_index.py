"""Documents are read through once per machine: one process writes what it found, the others wait for that."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from cslm.batches import document_index as module
from cslm.batches.document_index import IndexFolder, index_documents
from cslm.batches.documents import JsonLines
from cslm.batches.sources import open_sources
from cslm.sequences.tasks import TASKS
from tests.worlds.small_world import write_lines

FIELDS = ("language", "text")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    languages = ["en", "zh", "en", "fr"]
    write_lines(tmp_path / "a.jsonl", [{"language": it, "text": str(n)} for n, it in enumerate(languages)])
    return tmp_path / "a.jsonl"


@pytest.fixture
def scans(monkeypatch):
    """Every time that documents are read through is noted."""
    noted: list[Path] = []
    scan = JsonLines.scan
    monkeypatch.setattr(JsonLines, "scan", lambda self: (noted.append(self.path), scan(self))[1])
    return noted


def plain(index):
    return index.offsets.tolist(), index.codes.tolist(), index.names


def test_what_is_found(path):
    offsets, codes, names = plain(index_documents(JsonLines(path, FIELDS), ("language",)))
    assert (codes, names) == ([[0], [1], [0], [2]], [["en", "zh", "fr"]])
    assert [json.loads(path.read_bytes()[offset:].split(b"\n")[0])["text"] for offset in offsets] == list("0123")


def test_a_second_run_reads_nothing(path, tmp_path, scans):
    kept = IndexFolder(tmp_path / "kept", 0)
    first = index_documents(JsonLines(path, FIELDS), ("language",), kept)
    again = index_documents(JsonLines(path, FIELDS), ("language",), kept)
    assert plain(first) == plain(again) == plain(index_documents(JsonLines(path, FIELDS), ("language",)))
    assert scans == [path, path] and isinstance(again.offsets, np.memmap)
    assert not [entry for entry in (tmp_path / "kept").iterdir() if entry.name.startswith(".")]


def test_another_file_or_question_is_read_anew(path, tmp_path, scans):
    kept = IndexFolder(tmp_path / "kept", 0)
    index_documents(JsonLines(path, FIELDS), ("language",), kept)
    index_documents(JsonLines(path, FIELDS), ("language", "text"), kept)
    index_documents(JsonLines(path, ("language",)), ("language",), kept)
    path.write_text('{"language": "de", "text": "x"}\n')
    assert index_documents(JsonLines(path, FIELDS), ("language",), kept).names == [["de"]]
    os.utime(path, ns=(1, 1))
    index_documents(JsonLines(path, FIELDS), ("language",), kept)
    assert len(scans) == 5 and len(list((tmp_path / "kept").iterdir())) == 5


def test_the_others_of_the_machine_wait_and_read_nothing(path, tmp_path, scans, monkeypatch):
    waited = threading.Event()
    sleep = module.time.sleep
    monkeypatch.setattr(module.time, "sleep", lambda seconds: (waited.set(), sleep(seconds / 20)))
    found = []
    other = threading.Thread(
        target=lambda: found.append(index_documents(JsonLines(path, FIELDS), ("language",), IndexFolder(kept, 1)))
    )
    kept = tmp_path / "kept"
    other.start()
    assert waited.wait(10) and scans == []
    first = index_documents(JsonLines(path, FIELDS), ("language",), IndexFolder(kept, 0))
    other.join(10)
    assert plain(found[0]) == plain(first) and scans == [path]


def test_two_machines_that_share_the_folder(path, tmp_path, monkeypatch):
    """The other machine finishes while this one reads: its index stands, and nothing is left aside."""
    kept = IndexFolder(tmp_path / "kept", 0)
    read_all = module._read_all

    def slowly(documents, fields):
        monkeypatch.setattr(module, "_read_all", read_all)
        index_documents(documents, fields, kept)
        return read_all(documents, fields)

    monkeypatch.setattr(module, "_read_all", slowly)
    index = index_documents(JsonLines(path, FIELDS), ("language",), kept)
    assert index.names == [["en", "zh", "fr"]] and len(list((tmp_path / "kept").iterdir())) == 1


def test_a_file_without_documents_has_an_empty_index(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    kept = IndexFolder(tmp_path / "kept", 0)
    index = index_documents(JsonLines(tmp_path / "a.jsonl", FIELDS), ("language",), kept)
    assert index.offsets.shape == (0,) and index.codes.shape == (0, 1)


def test_sources_are_the_same_with_and_without(world, form, tmp_path):
    configs = {name: config for name, config in world.items() if "documents" in TASKS[config.task].reads}
    plain_sources = open_sources(configs, form)
    for rank in (0, 1):
        sources = open_sources(configs, form, kept_in=IndexFolder(tmp_path / "kept", rank))
        for name, source in sources.items():
            assert source.languages == plain_sources[name].languages
            assert source.num_documents == plain_sources[name].num_documents
            for index in (0, source.num_documents - 1):
                assert np.array_equal(source.sequence(index, 1).ids, plain_sources[name].sequence(index, 1).ids)
