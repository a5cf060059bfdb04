"""A corpus as a data set with a card: ``python tools/export_dataset.py CORPUS OUT``; ``push_to_hub.py`` sends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.files.atomic_file import folder_aside
from cslm.files.progress import progress_bar
from cslm.publishing.corpus_files import CorpusFiles, find_corpus_files
from cslm.publishing.dataset_card import UTTERANCES, DatasetFacts, SplitFacts, dataset_card
from cslm.publishing.dataset_tables import Row, document_rows, utterance_features, utterance_rows, write_shards
from cslm.ranges import Range, check_numbers

CARD = "README.md"
DATA = "data"


@dataclass
class ExportDatasetConfig:
    """A corpus as a data set: ``export-dataset CORPUS OUT``."""

    corpus: str
    """folder that prepare-corpus made"""
    output: str
    """folder to write: README.md, and Parquet below data/; it is empty or not there"""
    name: str | None = None
    """NAME/SET on the Hub, or any name, for the card; null takes that of the output folder"""
    license: str | None = None
    """the Hub's name of a licence (cc-by-4.0), for the card; null says nothing about it"""
    shard_mb: int = 400
    """a file ends with the rows that fill so many megabytes"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a number out of range, by name.
        """
        check_numbers(self, "", shard_mb=Range(least=1))


def export_dataset(config: ExportDatasetConfig) -> DatasetFacts:
    """Write the data set, whole or not at all, and return what is in it. The same corpus gives the same bytes.

    Every manifest is a split of the configuration ``utterances``, with the audio in it; every other JSON Lines file is
    a configuration of its own, whose documents name utterances by id. What is empty is left out, and so is
    ``manifest.jsonl`` where other manifests are the parts of it; both are said.

    Raises:
        UserError: no corpus, audio that is not there, documents that no table holds, or an output folder with
            something in it.
    """
    corpus, output = find_corpus_files(Path(config.corpus)), Path(config.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: is not empty; name a folder for the data set that is not there yet")
    with folder_aside(output) as aside:
        for told in corpus.left_out:
            print(f"left out: {told}", flush=True)
        facts, configurations = _write_tables(corpus, aside / DATA, config.shard_mb)
        name = config.name or output.resolve().name
        card = dataset_card(corpus, facts, name, config.license, configurations)
        (aside / CARD).write_text(card, encoding="utf-8")
    return facts


def _write_tables(corpus: CorpusFiles, data: Path, shard_mb: int) -> tuple[DatasetFacts, list[dict[str, Any]]]:
    features = utterance_features(corpus.manifests.values())
    splits: dict[tuple[str, str], SplitFacts] = {}
    for split, manifest in corpus.manifests.items():
        rows = progress_bar(utterance_rows(manifest, features), None, f"writing {split}")
        write_shards(_counted(rows, split, splits), features, data / UTTERANCES, split, shard_mb)
    files = [{"split": split, "path": f"{DATA}/{UTTERANCES}/{split}-*.parquet"} for split in corpus.manifests]
    configurations = [{"config_name": UTTERANCES, "default": True, "data_files": files}]
    documents = {}
    for name, path in corpus.documents.items():
        of_documents, rows_of = document_rows(path)
        split = "test" if "test" in name.split("_") else "train"
        count = write_shards(rows_of, of_documents, data / name, split, shard_mb)
        documents[name] = count, list(of_documents)
        place = {"split": split, "path": f"{DATA}/{name}/{split}-*.parquet"}
        configurations.append({"config_name": name, "data_files": [place]})
    return DatasetFacts(splits, list(features), documents), configurations


def _counted(rows: Iterator[Row], split: str, splits: dict[tuple[str, str], SplitFacts]) -> Iterator[Row]:
    for row in rows:
        facts = splits.setdefault((split, row["language"]), SplitFacts())
        facts.num_utterances += 1
        facts.audio_sec += row.get("duration_sec") or 0.0
        speaker = row.get("speaker")
        if speaker is not None:
            facts.speakers[speaker] = facts.speakers.get(speaker, 0) + 1
        yield row


def main(arguments: list[str]) -> None:
    """``export-dataset CORPUS OUT [--license NAME]``; prints what is in it."""
    config = parse_configuration(ExportDatasetConfig, arguments, "export-dataset", ("corpus", "output"))
    facts = export_dataset(config)
    told = ", ".join(f"{name} ({count:,})" for name, (count, _) in facts.documents.items())
    total = sum(split.num_utterances for split in facts.splits.values())
    print(f"{config.output}: {total:,} utterances{f'; documents: {told}' if told else ''}")
    print(f"to send it: cslm push-to-hub {config.output} --repo NAME/SET")
