"""``verify``: read a unit store again, all of it, and say what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cslm.audio.waveform import load_waveform
from cslm.codecs.codec import UnitCodec
from cslm.codecs.families import load_codec
from cslm.codecs.units import expand_repeats
from cslm.configuration import parse_configuration
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError
from cslm.files.atomic_file import folder_at
from cslm.files.progress import progress_bar
from cslm.units.shards import ShardInfo, StoreHeader, read_header, read_shard, shard_schema
from cslm.units.store import UnitStore
from cslm.units.tokenizing_progress import REJECTED


@dataclass
class VerifyConfig:
    """Read a unit store again and say what is wrong: ``verify STORE [--tokenizer CARD --manifests '[M.jsonl]']``."""

    store: str
    """Folder of the store."""
    tokenizer: str | None = None
    """Card that it should have been made with; checks the fingerprint."""
    manifests: list[str] = field(default_factory=list)
    """Manifests that it was made from: a sample of their audio is encoded again, with the card."""
    num_utterances: int = 100
    """Size of that sample."""
    most_changed: float = 1e-3
    """Share of units of the sample that may differ: a neural tokenizer rounds otherwise on another machine."""
    device: str = "auto"
    """Where networks run (auto: the first accelerator, else cpu)."""


def verify(config: VerifyConfig) -> StoreHeader:
    """Check every shard against the header, and a sample against the audio if manifests are named.

    Raises:
        UserError: the store is not there or unfinished, or something is wrong with it; each fault is printed first.
    """
    folder = folder_at(config.store)
    header = read_header(folder)
    faults, ids = list[str](), set[bytes]()
    for shard in progress_bar(header.shards, len(header.shards), "verifying"):
        faults += _shard_faults(folder, header, shard, ids)
    faults += _header_faults(folder, header)
    sample = ""
    if config.tokenizer is not None:
        codec = load_codec(config.tokenizer, make_runtime(config.device, BATCH_SEC))
        if codec.fingerprint != header.fingerprint:
            faults.append(f"made with {header.fingerprint}, {config.tokenizer} is {codec.fingerprint}")
        elif config.manifests and not faults:
            found, sample = _encoded_again(config, codec)
            faults += found
    elif config.manifests:
        raise UserError("to encode a sample again, name the card too: --tokenizer CARD")
    for fault in faults:
        print(f"{folder}: {fault}", file=sys.stderr)
    if faults:
        raise UserError(f"{folder}: {len(faults)} faults, the first: {faults[0]}; tokenize the corpus again")
    hours = header.audio_sec / 3600
    print(
        f"{folder}: whole; {len(header.shards)} shards, {header.num_utterances} utterances, {hours:.2f} hours{sample}"
    )
    return header


def _shard_faults(folder: Path, header: StoreHeader, shard: ShardInfo, ids: set[bytes]) -> list[str]:
    file = folder / shard.file
    if not file.is_file():
        return [f"{shard.file} is missing"]
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != shard.sha256:
        return [f"{shard.file} changed since it was written: {len(content)} bytes, {shard.num_bytes} expected"]
    table = read_shard(content)
    if table.schema.remove_metadata() != shard_schema(header.codebook_sizes, header.in_documents):
        what = f"{' of documents' if header.in_documents else ''} with codebooks of {header.codebook_sizes}"
        return [f"{shard.file} has other columns than a store{what}"]
    faults = [f"{shard.file}: {fault}" for fault in _row_faults(table, header)]
    counted = {
        "num_utterances": len(table),
        "num_units": int(np.sum(_numbers(table, "num_units"))),
        "num_frames": int(np.sum(_numbers(table, "num_frames"))),
    }
    faults += [
        f"{shard.file}: {name} is {count}, the header says {getattr(shard, name)}"
        for name, count in counted.items()
        if count != getattr(shard, name)
    ]
    for utterance_id in table.column("id").to_pylist():
        key = hashlib.blake2b(utterance_id.encode(), digest_size=12).digest()
        if key in ids:
            faults.append(f"{shard.file}: the id {utterance_id!r} stands in the store twice")
        ids.add(key)
    return faults


def _row_faults(table: pa.Table, header: StoreHeader) -> Iterator[str]:
    """What contradicts itself within the rows of a shard."""
    codebooks = len(header.codebook_sizes)
    units, durations = table.column("units").combine_chunks(), table.column("durations").combine_chunks()
    num_units, num_frames = _numbers(table, "num_units"), _numbers(table, "num_frames")
    ids = table.column("id").to_pylist()
    checks: list[tuple[str, np.ndarray]] = [
        ("its units are not num_units times num_codebooks", np.diff(units.offsets) != num_units * codebooks),
        ("num_codebooks is not the header's", _numbers(table, "num_codebooks") != codebooks),
        ("lasts no time", ~(_numbers(table, "duration_sec") > 0)),
    ]
    if header.in_documents:
        checks.append(("its place is below 0", np.nan_to_num(_numbers(table, "place")) < 0))
    if header.merged:
        ends = np.concatenate([[0], np.cumsum(durations.values.to_numpy().astype(np.int64))])
        sums = np.diff(ends[durations.offsets.to_numpy()])
        checks.append(("its durations do not add up to num_frames", sums != num_frames))
        checks.append(("it has not one duration a unit", np.diff(durations.offsets) != num_units))
    for fault, wrong in checks:
        yield from (f"{ids[i]!r}: {fault}" for i in np.flatnonzero(wrong)[:3])
    values = units.values.to_numpy()
    if not checks[0][1].any() and values.size:
        too_large = (values.reshape(-1, codebooks) >= np.asarray(header.codebook_sizes)).any(axis=1)
        if too_large.any():
            row = int(np.searchsorted(units.offsets.to_numpy(), np.flatnonzero(too_large)[0] * codebooks, "right")) - 1
            yield f"{ids[row]!r}: a unit outside its codebook of {header.codebook_sizes}"
    if header.merged and (durations.values.to_numpy() == 0).any():
        yield "a unit that lasts no frame"


def _header_faults(folder: Path, header: StoreHeader) -> Iterator[str]:
    for name in ("num_utterances", "num_units", "num_frames"):
        total = sum(getattr(shard, name) for shard in header.shards)
        if total != getattr(header, name):
            yield f"{name} of the shards is {total}, the header says {getattr(header, name)}"
    if not math.isclose(math.fsum(shard.audio_sec for shard in header.shards), header.audio_sec, abs_tol=1e-6):
        yield "audio_sec of the shards do not add up to the header's"
    rejected = folder / REJECTED
    listed = sum(1 for line in rejected.open(encoding="utf-8") if json.loads(line)) if rejected.is_file() else 0
    if listed != header.num_rejected:
        yield f"{REJECTED} lists {listed} utterances, the header says {header.num_rejected}"


def _encoded_again(config: VerifyConfig, codec: UnitCodec) -> tuple[list[str], str]:
    """Faults of a sample that is encoded again from its audio, and what to tell of it."""
    store = UnitStore.open(config.store)
    chosen = np.random.default_rng(0).permutation(len(store))[: config.num_utterances]
    rows = {row.id: row for row in map(store.row, sorted(chosen.tolist()))}
    faults, frames, changed = list[str](), 0, 0
    for path, utterance in _utterances(config.manifests, rows):
        part = (utterance.start_sec, utterance.duration_sec)
        waveform, _ = load_waveform(path, *part, codec.sample_rate_hz, channel=utterance.channel)
        again, kept = codec.encode([waveform])[0], expand_repeats(rows.pop(utterance.id).units)
        if len(again) != len(kept):
            faults.append(f"{utterance.id!r} has {len(kept)} frames, its audio {len(again)}: did the audio change?")
            continue
        frames += len(kept)
        changed += int((again.ids != kept.ids).any(axis=1).sum())
    faults += [f"{utterance_id!r} is in none of the manifests" for utterance_id in rows]
    share = changed / max(1, frames)
    if share > config.most_changed:
        faults.append(f"{share:.2%} of the units of {len(chosen)} utterances differ when encoded again")
    return faults, f"; {len(chosen)} utterances encoded again, {share:.4%} of their units differ"


def _utterances(manifests: list[str], wanted: dict[str, Any]) -> Iterator[tuple[str, Utterance]]:
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            if utterance.id in wanted:
                yield resolve_audio(manifest, utterance), utterance


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    numbers: np.ndarray = table.column(name).to_numpy()
    return numbers


def main(arguments: list[str]) -> None:
    """Command line: the store, then options."""
    verify(parse_configuration(VerifyConfig, arguments, "verify", positionals=("store",)))
