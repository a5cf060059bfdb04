"""Tar shards as WebDataset has them (``a.flac``, ``a.txt`` or ``a.json`` side by side), as a manifest.

The audio stays in the shards: the manifest names it by fsspec URL (``tar://a.flac::/path/shard.tar``).
"""

from __future__ import annotations

import glob
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.audio_folder import SUFFIXES
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.files.progress import progress_bar


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


def prepare_tar_shards(output: Path, config: TarShardsConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every audio member; the shards stay as they are.

    Raises:
        UserError: no shards, a file that is not a tar, one name in two shards, or a language that is not said.
    """
    shards = sorted(glob.glob(config.shards))
    if not shards:
        raise UserError(f"{config.shards}: no such shards")
    without_text = 0
    seen: dict[str, str] = {}
    utterances = []
    for shard in progress_bar(shards, len(shards), "reading shards"):
        for utterance in _utterances(os.path.abspath(shard), config):
            if utterance.id in seen:
                raise UserError(f"{shard}: {utterance.id} stands in {seen[utterance.id]} too")
            seen[utterance.id] = shard
            without_text += not utterance.text
            utterances.append(utterance)
    if not utterances:
        raise UserError(f"{config.shards}: no audio in {len(shards)} shards ({', '.join(SUFFIXES)})")
    if without_text:
        print(f"{without_text} of {len(utterances)} utterances have no text")
    write_manifest(utterances, output / "manifest.jsonl")


def _utterances(shard: str, config: TarShardsConfig) -> Iterator[Utterance]:
    audio: dict[str, str] = {}
    facts: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(shard) as members:
            for member in members:
                key, suffix = os.path.splitext(member.name)
                if not member.isfile():
                    continue
                if suffix.lower() in SUFFIXES:
                    audio[key] = member.name
                elif suffix in (".json", f".{config.text_key}"):
                    facts.setdefault(key, {}).update(_facts(members, member, suffix, shard, config))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{shard}: cannot be read as tar ({error})") from None
    for key, name in audio.items():
        said = facts.get(key, {})
        language = said.get(config.language_key, config.language)
        if not isinstance(language, str):
            raise UserError(f"{shard}: {key} does not say its language: give --language, or --language_key")
        speaker = said.get(config.speaker_key)
        yield Utterance(
            id=key,
            audio=f"tar://{name}::{shard}",
            text=str(said.get(config.text_key, "")).strip(),
            language=language,
            speaker=None if speaker is None else str(speaker),
        )


def _facts(
    members: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, shard: str, config: TarShardsConfig
) -> dict[str, Any]:
    content = members.extractfile(member)
    assert content is not None
    try:
        text = content.read().decode("utf-8")
        if suffix != ".json":
            return {config.text_key: text}
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{shard}: {member.name} cannot be read ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{shard}: {member.name} holds {type(values).__name__}, not keys and values")
    return values
