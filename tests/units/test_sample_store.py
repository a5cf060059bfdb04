"""Stores of what frozen networks made of samples: exactly once, same bytes, a mismatch names both sides."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cslm.errors import UserError
from cslm.units.make_samples import MadeRows, Makes, SamplesJob, make_samples
from cslm.units.sample_store import Making, SampleHeader, SampleStore

NUM_SAMPLES = 23


def making(**changes: object) -> Making:
    values = {
        "kind": "squares",
        "made_with": {"language model": "sha256:a"},
        "settings": {"power": 2},
        "samples": "sha256:all",
        "num_samples": NUM_SAMPLES,
        "samples_per_shard": 5,
    }
    return Making(**{**values, **changes})  # type: ignore[arg-type]


def rows_of(job: SamplesJob) -> MadeRows:
    """Two rows of each sample but of every seventh, which is rejected."""
    kept = [sample for sample in job.samples if sample % 7 != 3]
    ids = [f"s{sample}" for sample in kept for _ in range(2)]
    vectors = [np.arange(3, dtype=np.float32) * sample for sample in kept for _ in range(2)]
    table = pa.table({"id": ids, "vector": pa.array(vectors, pa.list_(pa.float32()))})
    rejected = [{"id": f"s{sample}", "reason": "it is odd"} for sample in job.samples if sample % 7 == 3]
    return MadeRows(table, rejected, {"words": len(kept)})


def opens(device: str) -> Makes:
    assert device == "cpu"
    return rows_of


def opens_one_that_stops(device: str) -> Makes:
    done = iter(range(2))

    def stops(job: SamplesJob) -> MadeRows:
        if next(done, None) is None:
            raise KeyboardInterrupt
        return rows_of(job)

    return stops


def make(output: Path, workers: int = 1, using: object = opens, **changes: object) -> SampleHeader:
    def samples() -> Iterator[int]:
        return iter(range(NUM_SAMPLES))

    devices = ["cpu"] * workers
    return make_samples(str(output), making(**changes), using, samples, devices, "squaring")  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_a_store_is_read_as_it_was_made(tmp_path):
    header = make(tmp_path / "store")
    store = SampleStore.open(tmp_path / "store", "squares")
    assert (len(store), header.num_rejected, header.counts) == (40, 3, {"words": 20})
    assert store.column("id")[:4].tolist() == ["s0", "s0", "s1", "s1"]
    row = store.row(39)
    assert row["id"] == "s22"
    assert row["vector"].tolist() == [0.0, 22.0, 44.0]
    assert pickle.loads(pickle.dumps(store)).row(5, ["id"]) == {"id": "s2"}
    rejected = [json.loads(line) for line in (tmp_path / "store" / "rejected.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rejected] == ["s3", "s10", "s17"]


def test_stopped_and_started_again_or_in_two_processes_gives_the_same_bytes(tmp_path):
    make(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "stopped", using=opens_one_that_stops)
    with pytest.raises(UserError, match="not finished"):
        SampleStore.open(tmp_path / "stopped", "squares")
    made_before = {file: file.stat().st_mtime_ns for file in (tmp_path / "stopped").glob("shard-*")}
    assert len(made_before) == 2
    make(tmp_path / "stopped")
    assert {file: file.stat().st_mtime_ns for file in made_before} == made_before
    make(tmp_path / "two", workers=2)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole") == contents(tmp_path / "two")


def test_what_is_made_already_is_not_made_again(tmp_path):
    make(tmp_path / "store")
    before = contents(tmp_path / "store")
    make(tmp_path / "store", using=lambda device: pytest.fail("opened"))
    assert contents(tmp_path / "store") == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"made_with": {"language model": "sha256:b"}}, "language model sha256:a, asked for sha256:b"),
        ({"settings": {"power": 3}}, "power 2, asked for 3"),
        ({"samples": "sha256:others"}, "samples sha256:all, asked for sha256:others"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_work_is_refused_by_what_differs(tmp_path, changes, told, finished):
    if finished:
        make(tmp_path / "store")
    else:
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "store", using=opens_one_that_stops)
    with pytest.raises(UserError, match=told):
        make(tmp_path / "store", **changes)


def test_another_language_model_is_an_error_that_names_both(tmp_path):
    make(tmp_path / "store")
    store = SampleStore.open(tmp_path / "store", "squares")
    store.check_made_with({"language model": "sha256:a"}, "the model of the run")
    with pytest.raises(UserError, match=r"another language model \(sha256:a\) than the model of the run \(sha256:c\)"):
        store.check_made_with({"language model": "sha256:c"}, "the model of the run")
    with pytest.raises(UserError, match=r"another template \(nothing\)"):
        store.check_made_with({"template": "sha256:t"}, "the model of the run")


def test_another_kind_or_a_changed_shard_is_refused(tmp_path):
    make(tmp_path / "store")
    with pytest.raises(UserError, match="is a store of squares: a store of cubes is wanted"):
        SampleStore.open(tmp_path / "store", "cubes")
    shard = tmp_path / "store" / "shard-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match="changed since it was written"):
        SampleStore.open(tmp_path / "store", "squares")


def test_a_shard_that_is_no_parquet_any_more_was_a_traceback(tmp_path):
    make(tmp_path / "store")
    shard = tmp_path / "store" / "shard-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[-12:] = bytes(12)
    shard.write_bytes(content)
    with pytest.raises(UserError, match="shard-00000.parquet changed since it was written"):
        SampleStore.open(tmp_path / "store", "squares")


def test_nothing_usable_leaves_no_folder(tmp_path):
    only = making(num_samples=1)
    with pytest.raises(UserError, match="not one of 1 samples could be used; the first: it is odd"):
        make_samples(str(tmp_path / "store"), only, opens, lambda: iter([3]), ["cpu"], "squaring")
    assert not (tmp_path / "store").exists()
