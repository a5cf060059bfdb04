"""Texts of stories, in every layout: each story once, in order, and none invented."""

from __future__ import annotations

import dataclasses
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cslm.synthesis.story_texts as module
from cslm.errors import UserError
from cslm.synthesis.story_texts import StoryTextsConfig, story_texts, texts_origin

TALES = ["Tom ran.\nHe fell.", "Mia sang.", "Ben slept."]


def read(path, folder, **options):
    return list(story_texts(StoryTextsConfig(str(path), **options), "en", folder))


@pytest.mark.parametrize(
    "name", ["tales.txt", "tales.txt.gz", "tales.jsonl", "tales.jsonl.gz", "tales.parquet", "folder"]
)
def test_every_layout_holds_the_same_stories(name, tmp_path):
    path = tmp_path / name
    tiny = "\n<|endoftext|>\n".join(TALES) + "\n<|endoftext|>\n"
    lines = "".join(json.dumps({"text": text, "other": 1}) + "\n" for text in TALES)
    if name == "folder":
        path.mkdir()
        for number, text in enumerate(TALES):
            (path / f"{number}.txt").write_text(text)
        (path / "notes.md").write_text("no story")
    elif name.endswith(".parquet"):
        pq.write_table(pa.table({"id": [1, 2, 3], "text": TALES}), path)
    else:
        content = (tiny if ".txt" in name else lines).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read(path, tmp_path / "made") == list(enumerate(TALES))
    assert read(path, tmp_path / "made", max_stories=2) == list(enumerate(TALES))[:2]
    assert read(path, tmp_path / "made", num_shards=2, shard=1) == [(1, "Mia sang.")]


def test_a_mark_within_a_line_ends_a_story_and_an_empty_story_keeps_its_number(tmp_path):
    (tmp_path / "tales.txt").write_text("One.<|endoftext|>Two.\n<|endoftext|>\n<|endoftext|>Four.")
    assert read(tmp_path / "tales.txt", tmp_path) == [(0, "One."), (1, "Two."), (2, ""), (3, "Four.")]


def test_texts_that_are_none_become_empty_ones(tmp_path):
    (tmp_path / "tales.jsonl").write_text('{"text": null}\n{"text": 3}\n{"text": "Tom ran."}\n')
    assert read(tmp_path / "tales.jsonl", tmp_path) == [(0, ""), (1, ""), (2, "Tom ran.")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tales.jsonl", b'{"story": "Tom."}\n', "line 1: has no key 'text'"),
        ("tales.txt", b"\xff\xfe\n", "is not UTF-8 text"),
        ("tales.parquet", b"no", "cannot be read as Parquet"),
        ("folder", None, "no file of texts in it"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, content, says):
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        read(path, tmp_path / "made")


def test_a_data_set_of_the_hub_is_written_to_shards_first_and_named_by_its_commit(tmp_path, monkeypatch):
    """The Hub's part is played by a folder; what reads it and writes the shards is what reads the Hub."""
    (tmp_path / "hub").mkdir()
    pq.write_table(pa.table({"story": TALES}), tmp_path / "hub" / "train.parquet")
    asked = []
    prepare = module.prepare_hugging_face_text

    def from_folder(output, config):
        asked.append(config.dataset)
        prepare(output, dataclasses.replace(config, dataset=str(tmp_path / "hub")))

    monkeypatch.setattr(module, "prepare_hugging_face_text", from_folder)
    for _ in range(2):
        assert read("someone/tales", tmp_path / "made", column="story") == list(enumerate(TALES))
    assert asked == ["someone/tales"]
    origin = texts_origin(StoryTextsConfig("someone/tales"), tmp_path / "made")
    assert origin == {"dataset": "hub", "subset": None, "split": "train", "revision": None}
    assert texts_origin(StoryTextsConfig(str(tmp_path / "x" / "tales.txt")), tmp_path) == {"name": "tales.txt"}


def test_numbers_out_of_range_are_refused():
    with pytest.raises(UserError, match="max_stories is 0"):
        StoryTextsConfig("x", max_stories=0)
