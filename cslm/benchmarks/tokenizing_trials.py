"""What ``tokenize-corpus`` promises, tried on a corpus: ``python tools/bench_tokenize_corpus.py TRIAL CARD MANIFEST``.

Each trial runs the real commands in processes of their own and gives a row of figures.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import soundfile

from cslm.audio.waveform import load_waveform
from cslm.benchmarks.broken_audio import (
    BREAKAGES,
    FURTHER_BREAKAGES,
    LONGEST_SEC,
    ODDITIES,
    write_broken_file,
    write_odd_file,
)
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio, write_manifest
from cslm.errors import UserError

_RATE_HZ = 16000


def speed(card: str, manifest: str, folder: Path) -> dict[str, Any]:
    """The whole tool: from files to a store that ``verify`` has read again."""
    told, tokenize_sec = _finished("tokenize-corpus", manifest, "--tokenizer", card, "--output", str(folder / "s"))
    _, verify_sec = _finished("verify", str(folder / "s"))
    audio_sec = json.loads((folder / "s" / "header.json").read_text(encoding="utf-8"))["audio_sec"]
    return {
        "audio_hours": audio_sec / 3600,
        "tokenize_sec": tokenize_sec,
        "verify_sec": verify_sec,
        "times_real_time": audio_sec / (tokenize_sec + verify_sec),
        "told": told.splitlines()[-1],
    }


def memory(card: str, manifest: str, folder: Path, counts: tuple[int, int] = (1_000, 100_000)) -> dict[str, Any]:
    """Peak memory of the largest process, for few and for many utterances of two seconds."""
    row: dict[str, Any] = {}
    for count in counts:
        _write_short_utterances(manifest, folder / f"{count}.jsonl", count, 2.0)
        process = _start(folder / f"{count}.jsonl", card, folder / f"{count}", "--num_workers", "2")
        _, status, usage = os.wait4(process.pid, 0)  # of the command and the workers it has waited for
        if status:
            raise RuntimeError(f"tokenize-corpus stopped with status {status}")
        row[f"peak_mib_at_{count}"] = usage.ru_maxrss / 1024
    return row


def start(card: str, manifest: str, folder: Path, count: int = 1_000_000) -> dict[str, Any]:
    """Seconds until the first shard of a long manifest is claimed, and until it is finished."""
    _write_short_utterances(manifest, folder / "m.jsonl", count, 2.0)
    began = time.perf_counter()
    process = _start(folder / "m.jsonl", card, folder / "s")
    try:
        claimed_sec = _wait_for(folder / "s" / ".progress", "*.claim", process, began)
        finished_sec = _wait_for(folder / "s" / ".progress", "0*.json", process, began)
    finally:
        _kill(process)
    return {"utterances": count, "first_batch_after_sec": claimed_sec, "first_shard_after_sec": finished_sec}


def kills(card: str, manifest: str, folder: Path, count: int = 20, seed: int = 0) -> dict[str, Any]:
    """Stores that were killed once, at random moments, and taken up again, against one that was left alone.

    Every other kill hits the command only, whose workers have to notice; the others hit all of its processes.
    """
    chance = random.Random(seed)
    shards = ("--utterances_per_shard", str(max(1, sum(1 for _ in read_manifest(manifest)) // 40)))
    began = time.perf_counter()
    _complete(_start(manifest, card, folder / "whole", *shards))
    seconds, whole = time.perf_counter() - began, _digests(folder / "whole")
    done, same = list[int](), 0
    for index in range(count):
        store = folder / f"killed-{index}"
        while len(done) == index:  # once more where the run was over before its moment
            shutil.rmtree(store, ignore_errors=True)
            process = _start(manifest, card, store, *shards)
            try:
                process.wait(chance.uniform(0.0, seconds))
            except subprocess.TimeoutExpired:
                done.append(len(list((store / ".progress").glob("0*.json"))))
                _kill(process, all_of_it=index % 2 == 0)
        _complete(_start(manifest, card, store, *shards))
        same += _digests(store) == whole
    return {
        "kills": count,
        "byte_identical": same,
        "shards_done_when_killed": done,
    }


def workers(card: str, manifest: str, folder: Path) -> dict[str, Any]:
    """Stores of 1, 2 and 4 processes and of a Ray cluster on this machine."""
    ways = [*(("--num_workers", str(number)) for number in (1, 2, 4)), ("--engine", "ray")]
    stores = []
    for way in ways:
        stores.append(folder / way[1])
        _complete(_start(manifest, card, stores[-1], *way, "--utterances_per_shard", "100"))
    found = [_digests(store) for store in stores]
    return {"ways": [" ".join(way) for way in ways], "byte_identical": all(one == found[0] for one in found)}


def broken(card: str, manifest: str, folder: Path, count: int = 1_000) -> dict[str, Any]:
    """Good files, as many that are broken, and what became of them."""
    corpus, kinds = folder / "corpus", {**BREAKAGES, **FURTHER_BREAKAGES}
    corpus.mkdir()
    rows = []
    for index, clip in enumerate(_short_utterances(manifest, count, 1.0)):
        waveform, _ = load_waveform(clip.audio, clip.start_sec, clip.duration_sec, _RATE_HZ)
        soundfile.write(corpus / f"good-{index}.wav", waveform, _RATE_HZ)
        rows.append(Utterance(f"good {index}", f"good-{index}.wav", clip.text, clip.language))
        kind = list(kinds)[index % len(kinds)]
        rows.append(Utterance(f"{kind} {index}", write_broken_file(kind, corpus, f"b-{index}"), "", clip.language))
    write_manifest(rows, corpus / "m.jsonl")
    _complete(
        _start(
            corpus / "m.jsonl",
            card,
            folder / "s",
            "--max_sec",
            str(LONGEST_SEC),
            "--root",
            str(corpus),
            "--max_rejected_share",
            "1",
        )
    )
    header = json.loads((folder / "s" / "header.json").read_text(encoding="utf-8"))
    rejected = [json.loads(line) for line in (folder / "s" / "rejected.jsonl").read_text("utf-8").splitlines()]
    named = sum(bool(re.search(kinds.get(row["id"].rpartition(" ")[0], "$."), row["reason"])) for row in rejected)
    return {"good": count, "in_the_store": header["num_utterances"], "broken": count, "named": named}


def odd(card: str, manifest: str, folder: Path, count: int = 100) -> dict[str, Any]:
    """Files of a second whose headers are no help, and what became of them; the manifest is not used."""
    corpus, kinds = folder / "corpus", [list(ODDITIES)[index % len(ODDITIES)] for index in range(count)]
    corpus.mkdir()
    rows = [Utterance(f"{kind} {i}", write_odd_file(kind, corpus, f"o-{i}"), "", "en") for i, kind in enumerate(kinds)]
    write_manifest(rows, corpus / "m.jsonl")
    _complete(_start(corpus / "m.jsonl", card, folder / "s"))
    header = json.loads((folder / "s" / "header.json").read_text(encoding="utf-8"))
    return {
        "odd": count,
        "in_the_store": header["num_utterances"],
        "seconds_each": header["audio_sec"] / max(1, header["num_utterances"]),
        "to_be_noted": sum(ODDITIES[kind] for kind in kinds),
        "noted": len((folder / "s" / "noted.jsonl").read_text("utf-8").splitlines()),
    }


TRIALS: dict[str, Callable[[str, str, Path], dict[str, Any]]] = {
    "speed": speed,
    "memory": memory,
    "start": start,
    "kills": kills,
    "workers": workers,
    "broken": broken,
    "odd": odd,
}


def _short_utterances(manifest: str, count: int, seconds: float) -> Iterator[Utterance]:
    """So many utterances of so many seconds (or less), cut from those of a manifest, again and again."""
    pieces = []
    for utterance in read_manifest(manifest):
        audio, start_sec = resolve_audio(manifest, utterance), utterance.start_sec or 0.0
        if "://" not in audio:
            audio = os.path.abspath(audio)
        total_sec = utterance.duration_sec or (soundfile.info(audio).duration - start_sec)
        for index in range(int(total_sec / seconds)):
            pieces.append((audio, start_sec + index * seconds, utterance.text, utterance.language))
        if len(pieces) >= min(count, 5_000):
            break
    if not pieces:
        raise UserError(f"{manifest}: no utterance of {seconds:.0f} s in it: give a manifest of longer audio")
    for number, (audio, start_sec, text, language) in zip(range(count), itertools.cycle(pieces), strict=False):
        yield Utterance(f"u{number:07d}", audio, text, language, start_sec, seconds)


def _write_short_utterances(manifest: str, path: Path, count: int, seconds: float) -> None:
    write_manifest(_short_utterances(manifest, count, seconds), path)


def _command(verb: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", "from cslm.cli import run; run()", verb, *arguments]


def _start(manifest: str | Path, card: str, store: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start ``tokenize-corpus`` in a process group of its own."""
    command = _command("tokenize-corpus", str(manifest), "--tokenizer", card, "--output", str(store), *options)
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _complete(process: subprocess.Popen[bytes]) -> None:
    if status := process.wait():
        raise RuntimeError(f"tokenize-corpus stopped with status {status}")


def _finished(*arguments: str) -> tuple[str, float]:
    """What a command told on stderr, and the seconds that it took."""
    began = time.perf_counter()
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} stopped with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stderr, time.perf_counter() - began


def _kill(process: subprocess.Popen[bytes], all_of_it: bool = True) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if all_of_it else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


def _wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes], began: float) -> float:
    while not any(folder.glob(pattern)) and process.poll() is None:
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"tokenize-corpus stopped with status {process.returncode} before {pattern} was there")
    return time.perf_counter() - began


def _digests(store: Path) -> dict[str, str]:
    """Hash of every file of a finished store."""
    files = sorted(file for file in store.rglob("*") if file.is_file())
    return {str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
