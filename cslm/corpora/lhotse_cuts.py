"""Lhotse cuts (``cuts.jsonl`` or ``.jsonl.gz``, one file a recording), as a manifest; lhotse itself is not needed."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.manifest import Utterance, write_manifest
from cslm.corpora.word_times import Word
from cslm.errors import UserError


@dataclass
class LhotseCutsConfig:
    """Where the cuts are."""

    cuts: str
    """File of cuts: JSON Lines, gzipped or not."""
    language: str | None = None
    """BCP 47 language of cuts that do not say theirs; what they say is taken as it is."""


def prepare_lhotse_cuts(output: Path, config: LhotseCutsConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every cut of one supervision at most.

    Raises:
        UserError: no such file, a line that is not a cut of one recording in one file, or a language that is not said.
    """
    write_manifest(_utterances(output, config), output / "manifest.jsonl")


def _utterances(output: Path, config: LhotseCutsConfig) -> Iterator[Utterance]:
    for number, cut in _cuts(config.cuts):
        where = f"{config.cuts}, line {number}"
        try:
            yield _utterance(cut, where, output, config)
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"{where}: not a cut of one recording (MonoCut): {error!r}") from None


def _utterance(cut: dict[str, Any], where: str, output: Path, config: LhotseCutsConfig) -> Utterance:
    sources, supervisions = cut["recording"]["sources"], cut.get("supervisions", [])
    if len(sources) != 1 or sources[0]["type"] not in ("file", "url"):
        kinds = ", ".join(str(source["type"]) for source in sources)
        raise UserError(
            f"{where}: the recording of {cut['id']} lies in {kinds or 'nothing'}; one file or url is needed"
        )
    if len(supervisions) > 1:
        raise UserError(f"{where}: {cut['id']} has {len(supervisions)} supervisions: trim_to_supervisions() first")
    said = supervisions[0] if supervisions else {}
    language = said.get("language") or config.language
    if not language:
        raise UserError(f"{where}: {cut['id']} does not say its language: give --language")
    audio = sources[0]["source"]
    return Utterance(
        id=cut["id"],
        audio=audio if "://" in audio or os.path.isabs(audio) else os.path.relpath(audio, output),
        text=said.get("text") or "",
        language=language,
        start_sec=float(cut["start"]),
        duration_sec=float(cut["duration"]),
        speaker=said.get("speaker"),
        words=_words(said),
    )


def _words(said: dict[str, Any]) -> list[Word] | None:
    """Word times; in a cut, lhotse too counts them from the start of the cut."""
    items = (said.get("alignment") or {}).get("word")
    return [(symbol, start, start + duration) for symbol, start, duration, *_ in items] if items else None


def _cuts(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.endswith(".gz") else open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file of cuts") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: not JSON Lines ({error})") from None
