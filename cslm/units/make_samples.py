"""How a store of samples is made: by shards, in processes of this machine, exactly once, going on where a run stopped.

What a shard holds is fixed by the samples alone, so any number of workers, and any number of times that the command was
stopped and started again, give the same bytes. Several invocations may work on one store: they share it out by shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from cslm.errors import UserError
from cslm.files.atomic_file import folder_at, remove_folder, write_atomically
from cslm.files.progress import progress_bar
from cslm.units.sample_store import HEADER, Making, SampleHeader, SampleShard, read_sample_header
from cslm.units.shards import parquet_bytes, shard_name
from cslm.units.work_folder import WorkFolder, is_intact
from cslm.units.worker_processes import in_processes

REJECTED = "rejected.jsonl"
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class SamplesJob:
    """One shard: its number, and its samples."""

    shard: int
    samples: Sequence[Any]


@dataclass(frozen=True)
class MadeRows:
    """What became of the samples of a shard."""

    table: pa.Table
    """its rows, of one schema for the store; perhaps none"""
    rejected: Sequence[dict[str, str]] = ()
    """samples without rows: ``id`` and ``reason``"""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    """of what the rows are, by name, to be added up over the store"""


Makes = Callable[[SamplesJob], MadeRows]


def make_samples(
    output: str,
    making: Making,
    opens: Callable[[str], Makes],
    samples: Callable[[], Iterator[Any]],
    devices: list[str],
    label: str,
) -> SampleHeader:
    """Make a store, or what is missing of it.

    Args:
        output: folder, a path or an fsspec URL.
        opens: called once in each process with its device, gives what makes the rows of a shard; pickled. With one
            device the work is done in this process.
        samples: all of them, in their order, from the first on each time that it is called.
        devices: one a process.
        label: of the progress bar.

    Raises:
        UserError: the folder holds other work, or not one sample could be used; it is then removed.
    """
    store = _StoreInMaking(folder_at(output), making)
    finished = store.finished()
    if finished is not None:
        print(f"{output} is already complete: {_summary(finished)}", file=sys.stderr)
        return finished
    store.begin()
    makes = functools.partial(_opened, opens, store)
    missing, work = store.missing(), None
    while missing:
        jobs = _jobs(samples(), making.samples_per_shard, set(missing))
        if len(devices) > 1:
            done = in_processes(jobs, makes, devices)
        else:
            work = work or makes(devices[0])
            done = map(work, jobs)
        for _ in progress_bar(done, len(missing), f"{label} ({making.samples_per_shard} samples a step)"):
            pass
        missing = store.missing()  # what is left now, others hold: see what they leave
        if missing:
            devices = devices[:1]
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    header = store.finish()
    print(f"{output}: {_summary(header)}", file=sys.stderr)
    return header


def _jobs(samples: Iterator[Any], per_shard: int, wanted: set[int]) -> Iterator[SamplesJob]:
    """The jobs of the wanted shards, one shard in memory at a time."""
    rows: list[Any] = []
    index = -1
    for index, sample in enumerate(samples):
        if index // per_shard in wanted:
            rows.append(sample)
        if rows and (index + 1) % per_shard == 0:
            yield SamplesJob(index // per_shard, rows)
            rows = []
    if rows:
        yield SamplesJob(index // per_shard, rows)


def _summary(header: SampleHeader) -> str:
    counted = "".join(f", {count:,} {name}" for name, count in header.counts.items())
    rejected = f", {header.num_rejected} rejected (see {REJECTED})" if header.num_rejected else ""
    return f"{header.num_rows:,} rows of {header.making.num_samples:,} samples{counted}{rejected}"


def _opened(opens: Callable[[str], Makes], store: _StoreInMaking, device: str) -> Callable[[SamplesJob], bool]:
    return functools.partial(store.make, opens(device))


class _StoreInMaking:
    """The folder of a store, from before its first shard to its header."""

    def __init__(self, folder: Path, making: Making) -> None:
        self.folder, self.making = folder, making
        self._work = WorkFolder(folder)

    def finished(self) -> SampleHeader | None:
        """The header, if the folder already holds the whole of this work, with shards that have their hashes."""
        if not (self.folder / HEADER).exists():
            return None
        header = read_sample_header(self.folder)
        self._check(dataclasses.asdict(header.making))
        for shard in header.shards:
            if not is_intact(self.folder / shard.file, shard.num_bytes, shard.sha256):
                raise UserError(
                    f"{self.folder / shard.file} is missing or changed: remove {self.folder} and start again"
                )
        self._work.remove()
        return header

    def begin(self) -> None:
        """Write what is made, or check that what is begun there is the same."""
        self._check(self._work.begin(dataclasses.asdict(self.making)))

    def missing(self) -> list[int]:
        """Shards without a receipt, or whose file is not the one on the receipt; none once there is a header."""
        if (self.folder / HEADER).exists():
            return []
        return [index for index in range(self.making.num_shards) if self._receipt(index) is None]

    def make(self, makes: Makes, job: SamplesJob) -> bool:
        """Make one shard; false if another process holds it or has just finished it."""
        with self._work.locked(f"{job.shard:05d}.claim", waits=False) as mine:
            if not mine or self._receipt(job.shard) is not None:
                return False
            made = makes(job)
            shard = self._write(job.shard, made.table) if made.table.num_rows else None
            receipt = {"shard": shard, "rejected": list(made.rejected), "counts": made.counts}
            self._work.write_receipt(job.shard, receipt)
            return True

    def finish(self) -> SampleHeader:
        """Write ``rejected.jsonl`` and, last, the header, unless another process has done so."""
        with self._work.locked("finish", waits=True) as mine:
            if not mine or (self.folder / HEADER).exists():
                return read_sample_header(self.folder)
            header = self._finish()
        self._work.remove()
        return header

    def _finish(self) -> SampleHeader:
        receipts = [self._receipt(index) for index in range(self.making.num_shards)]
        known = [receipt for receipt in receipts if receipt is not None]
        assert len(known) == len(receipts), "a shard without a receipt"
        shards = tuple(SampleShard(**receipt["shard"]) for receipt in known if receipt["shard"] is not None)
        rejected = [row for receipt in known for row in receipt["rejected"]]
        if not shards:
            remove_folder(self.folder)
            reason = rejected[0]["reason"] if rejected else "there was none"
            raise UserError(f"not one of {self.making.num_samples} samples could be used; the first: {reason}")
        counts: dict[str, int] = {}
        for receipt in known:
            for name, count in receipt["counts"].items():
                counts[name] = counts.get(name, 0) + count
        for left_behind in self.folder.glob(".shard-*.tmp"):  # of a process that was killed; all shards are whole now
            left_behind.unlink(missing_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rejected)
        write_atomically(self.folder / REJECTED, lines.encode())
        num_rows = sum(shard.num_rows for shard in shards)
        header = SampleHeader(self.making, num_rows, len(rejected), counts, shards)
        text = json.dumps(dataclasses.asdict(header), indent=1, ensure_ascii=False)
        write_atomically(self.folder / HEADER, f"{text}\n".encode())
        return header

    def _write(self, index: int, table: pa.Table) -> dict[str, Any]:
        content = parquet_bytes(table)
        write_atomically(self.folder / shard_name(index), content)
        sha256 = hashlib.sha256(content).hexdigest()
        return dataclasses.asdict(SampleShard(shard_name(index), sha256, len(content), table.num_rows))

    def _receipt(self, index: int) -> dict[str, Any] | None:
        """The receipt of a shard that is there and intact."""
        receipt = None
        with contextlib.suppress(FileNotFoundError):  # the work is over meanwhile
            receipt = self._work.receipt(index)
        if receipt is None or receipt["shard"] is None:
            return receipt
        shard = SampleShard(**receipt["shard"])
        return receipt if is_intact(self.folder / shard.file, shard.num_bytes, shard.sha256) else None

    def _check(self, found: dict[str, Any]) -> None:
        """Make sure that what was begun or made in the folder is what is asked for.

        Raises:
            UserError: it is not.
        """
        wanted = json.loads(json.dumps(dataclasses.asdict(self.making)))
        for key in wanted:
            here, there = wanted[key], found[key]
            if isinstance(here, dict) and isinstance(there, dict):
                names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
                told = ", ".join(f"{name} {there.get(name)}, asked for {here.get(name)}" for name in names)
            else:
                told = f"{key} {there}, asked for {here}" if here != there else ""
            if told:
                raise UserError(f"{self.folder} holds other work ({told}): remove it or name another output")
