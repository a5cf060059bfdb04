"""A fairseq manifest (``train.tsv``: the folder, then ``PATH<TAB>NUM_SAMPLES``; texts in ``train.wrd``), as ours."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, audio_from, write_manifest
from cslm.corpora.table_rows import open_text
from cslm.errors import UserError


@dataclass
class FairseqConfig:
    """Where the manifest is."""

    tsv: str
    """fairseq's .tsv: the first line is the folder of the audio."""
    language: str
    """BCP 47 language that is spoken."""
    texts: str | None = None
    """File of the texts, a line for each line of the .tsv (default: the .wrd beside it, where there is one)."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share cannot be used, the command ends with status 2; the others are written."""


def prepare_fairseq(output: Path, config: FairseqConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every line; ids are the paths without their suffix.

    Raises:
        UserError: no such file, another number of texts than of lines, a path twice, or nothing that can be used.
    """
    language_tag(config.language)
    folder, *lines = _lines(config.tsv)
    if "\t" in folder:
        raise UserError(f"{config.tsv}, line 1: names a file; the first line of a .tsv of fairseq is the folder")
    beside = str(Path(config.tsv).with_suffix(".wrd"))
    texts_file = config.texts or (beside if os.path.isfile(beside) else None)
    texts = _lines(texts_file) if texts_file is not None else [""] * len(lines)
    if len(texts) != len(lines):
        raise UserError(
            f"{texts_file} has {len(texts)} lines, {config.tsv} names {len(lines)} files: they belong to others"
        )
    intake = Intake("lines")
    write_manifest(_utterances(folder, lines, texts, output, config, intake), output / "manifest.jsonl")
    intake.finish(output, config.tsv)


def _utterances(
    folder: str, lines: list[str], texts: list[str], output: Path, config: FairseqConfig, intake: Intake
) -> Iterator[Utterance]:
    root = folder.strip() if os.path.isabs(folder) else os.path.join(os.path.dirname(config.tsv), folder.strip())
    for number, (line, text) in enumerate(zip(lines, texts, strict=True), start=2):
        path, where = line.split("\t")[0].strip(), f"{config.tsv}, line {number}"
        make = functools.partial(_utterance, path, root, text, output, config.language)
        utterance = intake.take(make, path or f"line {number}", path, where)
        if utterance is not None:
            yield utterance


def _utterance(path: str, root: str, text: str, output: Path, language: str) -> Utterance:
    if not path:
        raise UserError("names no file")
    return Utterance(os.path.splitext(path)[0], audio_from(output, os.path.join(root, path)), text.strip(), language)


def _lines(name: str) -> list[str]:
    try:
        with open_text(Path(name)) as file:
            lines = [line.rstrip("\r\n") for line in file]
    except (OSError, EOFError) as error:
        raise UserError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
    if not lines:
        raise UserError(f"{name}: is empty")
    return lines
