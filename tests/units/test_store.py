from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.units.shards import StoreRow, read_header
from cslm.units.store import UnitStore, write_store
from tests.worlds.small_corpus import contents

FACTS = {"fingerprint": "sha256:1", "card": "small", "frame_rate_hz": 25.0}


def make_rows(count: int = 25, num_codebooks: int = 1, size: int = 300) -> list[StoreRow]:
    generator = np.random.default_rng(0)
    rows = []
    for index in range(count):
        length = int(generator.integers(1, 30))
        ids = generator.integers(0, size, (length, num_codebooks))
        durations = generator.integers(1, 9, length) if num_codebooks == 1 else None
        rows.append(
            StoreRow(
                id=f"u{index}",
                language="zh" if index % 3 else "en",
                text="你好，世界" if index % 3 else "hello <12> [answer]",
                duration_sec=length / 10,
                units=Units(ids, durations),
                speaker=f"s{index % 4}" if index % 5 else None,
                group=None if index % 2 else f"g{index}",
                words=[("hello", 0.0, 0.25), ("world", 0.25, 0.5)]
                if index % 3 == 0
                else []
                if index % 3 == 1
                else None,
            )
        )
    return rows


def make_store(folder: Path, **kwargs: object) -> UnitStore:
    options = {"codebook_sizes": (300,), "utterances_per_shard": 10, **FACTS, **kwargs}
    return write_store(folder, make_rows(), **options)


def _plain(durations: np.ndarray | None) -> list[int] | None:
    return None if durations is None else durations.tolist()


def same(a: StoreRow, b: StoreRow) -> bool:
    fields = ("id", "language", "text", "duration_sec", "speaker", "group", "words")
    equal_durations = _plain(a.units.durations) == _plain(b.units.durations)
    light = all(getattr(a, name) == getattr(b, name) for name in fields)
    return light and np.array_equal(a.units.ids, b.units.ids) and equal_durations


def test_rows_come_back_in_any_order(tmp_path):
    store = make_store(tmp_path / "store")
    rows = make_rows()
    assert len(store) == 25
    for index in np.random.default_rng(1).permutation(25):
        assert same(store.row(int(index)), rows[index])
    assert all(same(a, b) for a, b in zip(store, rows, strict=True))
    with pytest.raises(IndexError):
        store.row(25)
    with pytest.raises(IndexError):
        store.row(-1)


def test_rows_are_found_by_id(tmp_path):
    store = make_store(tmp_path / "store")
    assert [store.index_of(f"u{i}") for i in (24, 0, 13)] == [24, 0, 13]
    with pytest.raises(UserError, match="holds no utterance 'u25'"):
        store.index_of("u25")


def test_columns(tmp_path):
    store, rows = make_store(tmp_path / "store"), make_rows()
    for name in ("id", "language", "speaker", "group", "text"):
        assert store.column(name).tolist() == [getattr(row, name) for row in rows]
    assert store.column("num_units").tolist() == [len(row.units) for row in rows]
    assert store.column("num_frames").tolist() == [row.units.num_frames_total for row in rows]
    assert store.column("duration_sec").tolist() == [row.duration_sec for row in rows]
    assert (store.column("language") == "zh").sum() == 16


def test_the_header_counts(tmp_path):
    header, rows = make_store(tmp_path / "store").header, make_rows()
    assert header.num_units == sum(len(row.units) for row in rows)
    assert header.num_frames == sum(row.units.num_frames_total for row in rows)
    assert header.audio_sec == pytest.approx(sum(row.duration_sec for row in rows))
    assert (header.merged, header.codebook_sizes, header.fingerprint) == (True, (300,), "sha256:1")
    assert [shard.num_utterances for shard in header.shards] == [10, 10, 5]
    assert read_header(tmp_path / "store") == header


def test_several_codebooks(tmp_path):
    rows = make_rows(num_codebooks=3)
    store = write_store(tmp_path / "store", rows, codebook_sizes=(300, 300, 300), **FACTS)
    assert not store.header.merged
    assert all(same(a, b) for a, b in zip(store, rows, strict=True))


def test_large_codebooks(tmp_path):
    rows = make_rows(size=100_000)
    store = write_store(tmp_path / "store", rows, codebook_sizes=(100_000,), **FACTS)
    assert all(same(a, b) for a, b in zip(store, rows, strict=True))


def test_it_is_an_ordinary_data_set(tmp_path):
    make_store(tmp_path / "store")
    files = str(tmp_path / "store" / "*.parquet")
    opened = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "hub"))
    assert opened.num_rows == 25
    first, row = opened[0], make_rows()[0]
    assert first["units"] == row.units.ids[:, 0].tolist()
    assert first["durations"] == row.units.durations.tolist()
    assert first["words"][1] == {"word": "world", "start_sec": 0.25, "end_sec": 0.5}


def test_same_rows_same_bytes_and_no_path_in_them(tmp_path):
    make_store(tmp_path / "one")
    make_store(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not any(str(tmp_path).encode() in content for content in contents(tmp_path / "one").values())


def test_it_travels_to_other_processes(tmp_path):
    store = pickle.loads(pickle.dumps(make_store(tmp_path / "store")))
    assert same(store.row(7), make_rows()[7])


def test_it_is_unpacked_once_outside_the_store(tmp_path, cache):
    make_store(tmp_path / "store")
    before = {file: file.stat().st_mtime_ns for file in (cache / "units").glob("*.arrow")}
    UnitStore.open(tmp_path / "store")
    assert {file: file.stat().st_mtime_ns for file in (cache / "units").glob("*.arrow")} == before
    assert len(before) == 1
    assert sorted(contents(tmp_path / "store")) == ["header.json", *(f"shard-0000{i}.parquet" for i in range(3))]


def test_no_store_there(tmp_path):
    with pytest.raises(UserError, match="not a unit store"):
        UnitStore.open(tmp_path / "nothing")


def test_an_unfinished_store(tmp_path):
    make_store(tmp_path / "store")
    (tmp_path / "store" / "header.json").unlink()
    with pytest.raises(UserError, match="not finished: run tokenize_corpus again"):
        UnitStore.open(tmp_path / "store")


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_a_damaged_shard(tmp_path, cache, damage):
    make_store(tmp_path / "store")
    shard = tmp_path / "store" / "shard-00001.parquet"
    content = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(content[:-1] if damage == "short" else content[:-9] + b"x" + content[-8:])
    for file in (cache / "units").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"shard-00001\.parquet"):
        UnitStore.open(tmp_path / "store")
    assert [file.suffix for file in (cache / "units").iterdir() if file.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not the header"), ('{"format": 99}', "update cslm"), ("{}", "is not")]
)
def test_a_bad_header(tmp_path, text, message):
    make_store(tmp_path / "store")
    (tmp_path / "store" / "header.json").write_text(text)
    with pytest.raises(UserError, match=message):
        UnitStore.open(tmp_path / "store")


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        make_store(tmp_path / "store")
    assert sorted(contents(tmp_path / "store")) == ["diary.txt"]


def test_units_outside_the_codebook_are_never_written(tmp_path):
    with pytest.raises(AssertionError, match="outside its codebook"):
        write_store(tmp_path / "store", make_rows(), codebook_sizes=(200,), **FACTS)


def test_the_header_is_json_for_people(tmp_path):
    make_store(tmp_path / "store")
    values = json.loads((tmp_path / "store" / "header.json").read_text())
    assert values["format"] == 1
    assert values["shards"][0]["file"] == "shard-00000.parquet"


def test_a_process_that_read_a_shard_and_ended_was_aborted(tmp_path):
    """By threads of Arrow that had not ended, one time in three."""
    shard = next((make_store(tmp_path / "store").path).glob("shard-*.parquet"))
    script = """
import os, sys
from cslm.units.shards import read_shard
content = open(sys.argv[1], "rb").read()
for _ in range(30):
    child = os.fork()
    if child == 0:
        read_shard(content)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", script, str(shard)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
