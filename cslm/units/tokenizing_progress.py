"""What is already done of a store in the making, so that a stopped run goes on and several runs share the work."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.codecs.codec import UnitCodec
from cslm.codecs.fingerprint import check_fingerprint
from cslm.errors import UserError
from cslm.files.atomic_file import remove_folder, write_atomically
from cslm.units.shards import HEADER, ShardInfo, StoreHeader, make_header, read_header, write_header
from cslm.units.work_folder import WorkFolder, is_intact

REJECTED = "rejected.jsonl"
NOTED = "noted.jsonl"


@dataclass(frozen=True)
class Plan:
    """What decides the bytes of a store."""

    fingerprint: str
    corpus: str
    utterances_per_shard: int
    num_utterances: int
    batch_sec: float | None = None
    """Of a family whose units batches may change by rounding."""
    max_sec: float | None = None
    """Longer utterances are rejected."""
    root: str | None = None
    """Audio outside this folder is rejected."""
    in_documents: bool = False
    """Whether an utterance of the manifests has a document or a place: then all shards have both columns."""

    @property
    def num_shards(self) -> int:
        """Number of shards; one whose utterances were all rejected has no file."""
        return -(-self.num_utterances // self.utterances_per_shard)


@dataclass(frozen=True)
class Rejected:
    """An utterance that could not be used, and why."""

    id: str
    audio: str
    reason: str


@dataclass(frozen=True)
class Noted:
    """An utterance that is used, of a file whose header says something else than is there."""

    id: str
    audio: str
    note: str


@dataclass(frozen=True)
class Receipt:
    """A finished shard (``None`` where nothing of it could be used) and what was rejected from it."""

    index: int
    shard: ShardInfo | None
    rejected: list[Rejected] = field(default_factory=list)
    num_frames: int = 0
    """Frames that were batched, and the same with padding."""
    num_slots: int = 0
    noted: list[Noted] = field(default_factory=list)


class TokenizingProgress:
    """The folder of a store in the making: plan, claims and receipts in ``.progress``, shards beside it."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Touch nothing yet; see ``begin``."""
        self.folder = folder
        self.plan = plan
        self._work = WorkFolder(folder)

    def finished_header(self) -> StoreHeader | None:
        """The header, if the folder already holds the whole of this work, with shards that have their hashes.

        Raises:
            UserError: the folder holds other work, or a shard that changed.
        """
        if not (self.folder / HEADER).exists():
            return None
        header = read_header(self.folder)
        num_utterances = header.num_utterances + header.num_rejected
        found = Plan(header.fingerprint, header.corpus, self.plan.utterances_per_shard, num_utterances,
                     in_documents=header.in_documents)  # fmt: skip
        unrecorded = {name: getattr(self.plan, name) for name in ("batch_sec", "max_sec", "root")}
        self._check(dataclasses.replace(found, **unrecorded))
        for shard in header.shards:
            if not _is_intact(self.folder, shard):
                raise UserError(
                    f"{self.folder / shard.file} is missing or changed: remove {self.folder} and tokenize again"
                )
        self._work.remove()
        return header

    def begin(self) -> None:
        """Write the plan, or check that the one that is there is the same.

        Raises:
            UserError: the folder holds other work.
        """
        self._check(Plan(**self._work.begin(dataclasses.asdict(self.plan))))

    def missing_shards(self) -> list[int]:
        """Shards without a receipt, or whose file is not the one on the receipt; none once there is a header."""
        if (self.folder / HEADER).exists():
            return []
        return [index for index in range(self.plan.num_shards) if self._receipt(index) is None]

    @contextlib.contextmanager
    def claim(self, index: int) -> Iterator[bool]:
        """Claim a shard: true if this process may make it. The claim ends with the block, or with the process."""
        with self._work.locked(f"{index:05d}.claim", waits=False) as mine:
            yield mine and self._receipt(index) is None

    def write_receipt(self, receipt: Receipt) -> None:
        """Say that a shard is finished."""
        self._work.write_receipt(receipt.index, dataclasses.asdict(receipt))

    def finish(self, codec: UnitCodec) -> StoreHeader:
        """Write ``rejected.jsonl`` and, last, the header, unless another process has done so.

        Raises:
            UserError: not one utterance could be used; the folder is then removed.
        """
        with self._work.locked("finish", waits=True) as mine:
            if not mine or (self.folder / HEADER).exists():
                return read_header(self.folder)
            header = self._finish(codec)
        self._work.remove()
        return header

    def _finish(self, codec: UnitCodec) -> StoreHeader:
        receipts = [self._read_receipt(index) for index in range(self.plan.num_shards)]
        rejected = [dataclasses.asdict(row) for receipt in receipts for row in receipt.rejected]
        shards = [receipt.shard for receipt in receipts if receipt.shard is not None]
        if not shards:
            remove_folder(self.folder)
            raise UserError(
                f"not one of {len(rejected)} utterances could be tokenized; the first: {rejected[0]['reason']}"
            )
        for left_behind in self.folder.glob(".shard-*.tmp"):  # of a process that was killed; all shards are whole now
            left_behind.unlink(missing_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rejected)
        write_atomically(self.folder / REJECTED, lines.encode())
        noted = [
            json.dumps(dataclasses.asdict(row), ensure_ascii=False) for receipt in receipts for row in receipt.noted
        ]
        if noted:
            print(f"{self.folder}: {len(noted)} headers are wrong (see {NOTED})", file=sys.stderr)
            write_atomically(self.folder / NOTED, "".join(f"{line}\n" for line in noted).encode())
        header = make_header(
            shards,
            fingerprint=codec.fingerprint,
            card=codec.name,
            codebook_sizes=codec.codebook_sizes,
            frame_rate_hz=codec.frame_rate_hz,
            corpus=self.plan.corpus,
            num_rejected=len(rejected),
            in_documents=self.plan.in_documents,
        )
        write_header(self.folder, header)
        return header

    def _check(self, found: Plan) -> None:
        check_fingerprint(
            self.plan.fingerprint, found.fingerprint, "the tokenizer you name", f"the store {self.folder}"
        )
        names = ("corpus", "num_utterances", "utterances_per_shard", "batch_sec", "max_sec", "root", "in_documents")
        for name in names:
            if getattr(found, name) != getattr(self.plan, name):
                here, there = getattr(self.plan, name), getattr(found, name)
                where = f"{self.folder} holds other work ({name} {there}, asked for {here})"
                raise UserError(f"{where}: remove it or name another output")

    def _receipt(self, index: int) -> Receipt | None:
        """The receipt of a shard that is there and intact."""
        values = self._work.receipt(index)
        receipt = None if values is None else _receipt_of(values)
        return receipt if receipt is None or receipt.shard is None or _is_intact(self.folder, receipt.shard) else None

    def _read_receipt(self, index: int) -> Receipt:
        values = self._work.receipt(index)
        assert values is not None, f"no receipt of shard {index}"
        return _receipt_of(values)


def _receipt_of(values: dict[str, Any]) -> Receipt:
    shard = ShardInfo(**values["shard"]) if values["shard"] else None
    lists = {
        "rejected": [Rejected(**row) for row in values["rejected"]],
        "noted": [Noted(**row) for row in values.get("noted", [])],
    }
    return Receipt(**{**values, "shard": shard, **lists})


def _is_intact(folder: Path, shard: ShardInfo) -> bool:
    return is_intact(folder / shard.file, shard.num_bytes, shard.sha256)
