"""A folder of shards reads as the one file that they would be joined."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cslm.batches.documents import JsonLines
from cslm.batches.sources import SourceConfig, open_sources
from cslm.errors import UserError
from tests.worlds.small_world import write_lines

DOCUMENTS = [{"language": "en", "text": f"text {number} " + "é" * (number * 400)} for number in range(30)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Thirty documents in three files, with the header that prepare-corpus writes."""
    folder = tmp_path / "shards"
    folder.mkdir()
    facts = []
    for number in range(3):
        path = folder / f"documents-{number:05d}.jsonl"
        write_lines(path, DOCUMENTS[number * 10 : number * 10 + 10])
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        facts.append({"name": path.name, "documents": 10, "bytes": len(content), "sha256": digest})
    (folder / "header.json").write_text(json.dumps({"shards": facts}))
    return folder


def test_a_folder_is_the_one_file_that_its_shards_make(shards, tmp_path):
    (tmp_path / "one.jsonl").write_bytes(b"".join(path.read_bytes() for path in sorted(shards.glob("*.jsonl"))))
    folder, file = (JsonLines(path, ("text",)) for path in (shards, tmp_path / "one.jsonl"))
    assert list(folder.scan()) == list(file.scan()) and [found.document for found in folder.scan()] == DOCUMENTS
    places = [found.offset for found in folder.scan()]
    backwards = list(range(30))[::-1]
    assert [folder.read(places[number]) for number in backwards] == [DOCUMENTS[number] for number in backwards]


def test_more_shards_than_files_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr("cslm.batches.documents._MOST_OPEN", 2)
    for number in range(7):
        write_lines(tmp_path / f"{number}.jsonl", [{"text": str(number)}])
    lines = JsonLines(tmp_path, ("text",))
    places = [found.offset for found in lines.scan()]
    for _ in range(2):
        assert [lines.read(offset)["text"] for offset in places] == list("0123456")


def test_a_last_line_without_its_end_belongs_to_its_own_shard(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}')
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n')
    lines = JsonLines(tmp_path, ("text",))
    assert [lines.read(found.offset)["text"] for found in lines.scan()] == ["one", "two"]


def test_a_source_trains_on_a_folder(shards, form):
    source = open_sources({"a": SourceConfig("text", 1, documents=str(shards))}, form)["a"]
    assert source.num_documents == 30 and source.languages == ["en"]
    assert len(source.sequence(29, 0)) > len(source.sequence(0, 0))


def test_a_folder_that_is_not_whole_is_refused(shards, tmp_path):
    write_lines(shards / "documents-00001.jsonl", DOCUMENTS[:3])
    with pytest.raises(
        UserError, match=r"documents-00001\.jsonl: header\.json says [\d,]+ bytes, there are [\d,]+ bytes"
    ):
        JsonLines(shards, ("text",))
    (shards / "documents-00001.jsonl").unlink()
    with pytest.raises(UserError, match=r"documents-00001\.jsonl: header\.json says [\d,]+ bytes, there are no"):
        JsonLines(shards, ("text",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \*\.jsonl"):
        JsonLines(tmp_path / "empty", ("text",))


def test_a_bad_line_is_named_by_its_own_shard(shards):
    (shards / "header.json").unlink()
    (shards / "documents-00002.jsonl").write_text('{"text": "good"}\nbad\n')
    with pytest.raises(UserError, match=r"documents-00002\.jsonl, line 2: not JSON"):
        list(JsonLines(shards, ("text",)).scan())
