"""Tar shards as WebDataset has them (``a.flac``, ``a.txt`` or ``a.json`` side by side), as a manifest.

The audio stays in the shards: the manifest names it by fsspec URL (``tar://a.flac::/path/shard.tar``).
"""

from __future__ import annotations

import functools
import glob
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.corpora.audio_folder import MAC_SHADOW, SUFFIXES
from cslm.corpora.cells import text_of
from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake, printable
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.files.progress import progress_bar

_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
"""How a compressed file begins, and what unpacks it."""
_CHAINED = "::"


@dataclass
class TarShardsConfig:
    """Where the shards are, and what stands in them."""

    shards: str
    """The shards: a pattern (``data/train-*.tar``)."""
    language: str | None = None
    """BCP 47 language of all texts, where the shards do not say it."""
    text_key: str = "txt"
    """Where a text stands: the member of this suffix, or, of .json members, their field of this name."""
    language_key: str = "language"
    """Field of .json members with the language."""
    speaker_key: str = "speaker"
    """Field of .json members with the speaker."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share cannot be used, the command ends with status 2; the others are written."""


@dataclass
class _Members:
    """What a shard holds: audio by key, what is said of it, and what is wrong with that."""

    audio: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def prepare_tar_shards(output: Path, config: TarShardsConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every audio member; the shards stay as they are.

    What cannot be used is listed in ``rejected.jsonl``, also a shard that cannot be read; other members are counted.

    Raises:
        UserError: no shards, a compressed one, one name in two shards, or nothing that can be used.
    """
    shards = sorted(glob.glob(config.shards))
    if not shards:
        raise UserError(f"{config.shards}: no such shards")
    if config.language is not None:
        language_tag(config.language)
    for shard in shards:
        _check_not_compressed(shard)
    intake, passed_over = Intake(), Counter[str]()
    utterances: list[Utterance] = []
    for shard in progress_bar(shards, len(shards), "reading shards"):
        utterances += _utterances(os.path.abspath(shard), config, intake, passed_over)
    if not utterances and not intake.rejected:
        raise UserError(f"{config.shards}: no audio in {len(shards)} shards ({', '.join(SUFFIXES)})")
    intake.finish(output, config.shards)
    if passed_over:
        told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(passed_over.items()))
        print(f"{config.shards}: passed over {told}")
    without_text = sum(not utterance.text for utterance in utterances)
    if without_text:
        print(f"{without_text} of {len(utterances)} utterances have no text")
    write_manifest(utterances, output / "manifest.jsonl")


def _check_not_compressed(shard: str) -> None:
    try:
        with open(shard, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise UserError(f"{shard}: cannot be read ({error.strerror})") from None
    for magic, program in _COMPRESSED.items():
        if head.startswith(magic):
            raise UserError(
                f"{shard}: is compressed, and audio is read from where it lies in a shard: {program} it first"
            )


def _utterances(shard: str, config: TarShardsConfig, intake: Intake, passed_over: Counter[str]) -> Iterator[Utterance]:
    found = _Members()
    try:
        _read(shard, config, found, passed_over)
    except (tarfile.TarError, EOFError, OSError) as error:
        intake.reject(os.path.basename(shard), shard, f"{shard}: cannot be read as tar ({error})")
        return
    for key, name in found.audio.items():
        audio = f"tar://{name}::{shard}"
        if (before := intake.place_of(key)) is not None:
            raise UserError(f"{shard}: {key} stands in {before} too")
        make = functools.partial(_utterance, key, audio, shard, found, config)
        utterance = intake.take(make, key, audio, shard)
        if utterance is not None:
            yield utterance


def _read(shard: str, config: TarShardsConfig, found: _Members, passed_over: Counter[str]) -> None:
    with tarfile.open(shard, "r:", errors="surrogateescape") as members:
        for member in members:
            key, suffix = os.path.splitext(member.name)
            if not member.isfile():
                continue
            if os.path.basename(key).startswith(MAC_SHADOW):
                passed_over[f"{MAC_SHADOW}*"] += 1
            elif suffix.lower() in SUFFIXES:
                if found.audio.setdefault(key, member.name) != member.name:
                    found.faults[key] = (
                        f"{shard}: holds {found.audio[key]} and {member.name}: one name, two audio files"
                    )
                if _CHAINED in member.name:
                    found.faults[key] = (
                        f"{shard}: {member.name} has {_CHAINED} in its name, which no URL can; rename it"
                    )
            elif suffix in (".json", f".{config.text_key}"):
                content = members.extractfile(member)
                assert content is not None
                try:
                    found.facts.setdefault(key, {}).update(_facts(content.read(), suffix, config))
                except ValueError as error:
                    found.faults[key] = f"{shard}: {member.name} {error}"
            else:
                passed_over[printable(suffix) or "without a suffix"] += 1


def _facts(content: bytes, suffix: str, config: TarShardsConfig) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
        if suffix != ".json":
            return {config.text_key: text}
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"cannot be read ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"holds {type(values).__name__}, not keys and values")
    return values


def _utterance(key: str, audio: str, shard: str, found: _Members, config: TarShardsConfig) -> Utterance:
    if key in found.faults:
        raise UserError(found.faults[key])
    said, where = found.facts.get(key, {}), f"{shard}: {key}"
    language = said.get(config.language_key, config.language)
    if language is None and config.language_key in said:
        raise UserError(f"{where}: its {config.language_key} is null: write a tag, or leave the key out")
    if language is None:
        raise UserError(f"{where} does not say its language: give --language, or --language_key")
    return Utterance(
        id=key,
        audio=audio,
        text=text_of(said.get(config.text_key, ""), config.text_key, where),
        language=text_of(language, config.language_key, where),
        speaker=None if said.get(config.speaker_key) is None else text_of(said[config.speaker_key], "speaker", where),
    )
