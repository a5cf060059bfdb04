"""A corpus of which that is kept in which a recognizer hears what the transcript says (LAD, section 4: WER 10 %)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cslm.audio.waveform import load_waveform
from cslm.corpora.given_manifests import corpus_digest
from cslm.corpora.intake import REJECTED
from cslm.corpora.manifest import Utterance, audio_from, read_manifest, resolve_audio, write_manifest
from cslm.errors import UserError
from cslm.evaluation.error_rates import text_errors
from cslm.evaluation.recognizers import Clip
from cslm.files.json_lines import write_json_lines
from cslm.files.progress import progress_bar
from cslm.ranges import Range, check_numbers
from cslm.synthesis.failure import Failure
from cslm.synthesis.listener_config import ListenerConfig
from cslm.synthesis.listeners import Listener, open_listener
from cslm.synthesis.made_records import MadeRecords, Row

_MADE = ".made"
_BLOCK = 64
"""Utterances that are heard together. Part of what decides the bytes: models work in batches."""


@dataclass
class HeardCorpusConfig:
    """Which corpus, who listens, and how much may be misheard."""

    manifests: list[str]
    """Manifests of the corpus; the audio stays where it is."""
    listener: ListenerConfig = field(default_factory=ListenerConfig)
    """What listens: a speech recognizer."""
    max_error_rate: float = 0.1
    """Highest word error rate (character error rate where no spaces are written) of an utterance that is kept."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "", max_error_rate=Range(least=0))
        if not self.manifests:
            raise UserError("manifests is empty: name a manifest")


def prepare_heard_corpus(output: Path, config: HeardCorpusConfig) -> None:
    """Write ``manifest.jsonl`` with what is kept, ``heard.jsonl`` with what was heard, ``rejected.jsonl`` with others.

    An interrupted run in the folder goes on behind its last block.

    Raises:
        UserError: a bad manifest, a language that the listener does not hear, or nothing that is kept.
    """
    corpus, listener = corpus_digest(config.manifests), open_listener(config.listener)
    records = MadeRecords(output / _MADE)
    kept, heard, rejected = list[Utterance](), list[Row](), list[Row]()
    count = -(-corpus.num_utterances // _BLOCK)
    for block in progress_bar(_blocks(config.manifests), count, f"listening ({_BLOCK} utterances a step)"):
        facts = {language: listener.facts(language) for language in sorted({it.language for _, it in block})}
        decided_by = {"what": "heard", "corpus": corpus.digest, "first": block[0][1].id, "by": facts}
        rows = records.rows(decided_by, lambda: _hear(listener, block))  # noqa: B023  (made at once)
        for (path, utterance), row in zip(block, rows, strict=True):
            reason = row.get("failed")
            if reason is None:
                heard.append(row)
                if row["error_rate"] > config.max_error_rate:
                    reason = f"{row['error_rate']:.0%} of it is heard as something else"
            if reason is None:
                kept.append(dataclasses.replace(utterance, audio=audio_from(output, path)))
            else:
                rejected.append({"id": utterance.id, "reason": reason})
    if not kept:
        raise UserError(f"nothing of {corpus.num_utterances} utterances is kept; the first: {rejected[0]['reason']}")
    write_json_lines(heard, output / "heard.jsonl")
    write_json_lines(rejected, output / REJECTED)
    write_manifest(kept, output / "manifest.jsonl")
    records.remove()
    print(f"{len(kept)} of {corpus.num_utterances} utterances are kept, {len(rejected)} left out (see {REJECTED})")


Placed = tuple[str, Utterance]


def _blocks(manifests: list[str]) -> Iterator[list[Placed]]:
    rows = ((resolve_audio(manifest, it), it) for manifest in manifests for it in read_manifest(manifest))
    while block := list(islice(rows, _BLOCK)):
        yield block


def _hear(listener: Listener, block: list[Placed]) -> list[Row]:
    """What is heard in each utterance, or why nothing is; those of a language are heard together."""
    rows: dict[int, Row] = {}
    by_language: dict[str, dict[int, Clip]] = {}
    for number, (path, utterance) in enumerate(block):
        try:
            part = utterance.start_sec, utterance.duration_sec
            clip = load_waveform(path, *part, channel=utterance.channel)
        except UserError as error:
            rows[number] = {"id": utterance.id, "failed": str(error).replace(path, utterance.audio)}
            continue
        by_language.setdefault(utterance.language, {})[number] = clip
    for language, clips in by_language.items():
        for number, text in zip(clips, listener.hear(list(clips.values()), language), strict=True):
            rows[number] = _row(block[number][1], text)
    return [rows[number] for number in range(len(block))]


def _row(utterance: Utterance, text: str | Failure) -> dict[str, Any]:
    if isinstance(text, Failure):
        return {"id": utterance.id, "failed": text.reason}
    rate = text_errors([utterance.text], [text], utterance.language).rate if utterance.text.strip() else 1.0
    return {"id": utterance.id, "language": utterance.language, "heard": text, "error_rate": round(rate, 4)}
