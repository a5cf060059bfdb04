"""Utterances that belong to documents: what a store of them holds more, and one of others does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import datasets
import numpy as np
import pytest

from cslm.cli import dispatch
from cslm.corpora.manifest import read_manifest, write_manifest
from cslm.errors import UserError
from cslm.units.import_units import ImportUnitsConfig, import_units
from cslm.units.shards import StoreRow, read_header, shard_schema, write_header
from cslm.units.show import ShowConfig, show
from cslm.units.store import UnitStore, write_store
from cslm.units.take_codebooks import _rows as rows_of_first_codebooks
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from cslm.units.verify import VerifyConfig, verify
from tests.units.test_store import FACTS, make_rows, make_store
from tests.worlds.small_corpus import contents

OF_DOCUMENTS = [(f"story {index // 4}", index % 4) if index % 6 else (None, None) for index in range(25)]


def rows_of_stories(**options: int) -> list[StoreRow]:
    rows = zip(make_rows(**options), OF_DOCUMENTS, strict=True)
    return [dataclasses.replace(row, document=document, place=place) for row, (document, place) in rows]


def store_of_stories(folder: Path) -> UnitStore:
    return write_store(folder, rows_of_stories(), codebook_sizes=(300,), utterances_per_shard=10, in_documents=True,
                       **FACTS)  # fmt: skip


@pytest.fixture
def stories(corpus, tmp_path):
    """The corpus of the package's tests, of which the last ten utterances, a shard and more, are stories."""
    utterances = list(read_manifest(corpus))
    for index, utterance in enumerate(utterances[13:]):
        utterance.document, utterance.place = f"story {index // 5}", index % 5
        utterance.audio = str(corpus.parent / utterance.audio)
    for utterance in utterances[:13]:
        utterance.audio = str(corpus.parent / utterance.audio)
    write_manifest(utterances, tmp_path / "stories.jsonl")
    return tmp_path / "stories.jsonl"


def loaded(store: Path, folder: Path) -> datasets.Dataset:
    """All shards of a store, as others open them."""
    files = str(store / "*.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))


def test_documents_and_places_come_back(tmp_path):
    store = store_of_stories(tmp_path / "store")
    assert [(row.document, row.place) for row in store] == OF_DOCUMENTS
    assert store.column("document").tolist() == [document for document, _ in OF_DOCUMENTS]
    assert store.column("place").tolist() == [-1 if place is None else place for _, place in OF_DOCUMENTS]


def test_utterances_without_documents_have_the_columns_of_before(tmp_path):
    store = make_store(tmp_path / "store")
    header = json.loads((tmp_path / "store" / "header.json").read_text())
    assert header["format"] == 1 and "in_documents" not in header
    assert shard_schema((300,)).names == [
        "id", "language", "speaker", "group", "text", "duration_sec", "num_codebooks", "num_units", "num_frames",
        "units", "durations", "words",
    ]  # fmt: skip
    assert loaded(store.path, tmp_path).column_names == shard_schema((300,)).names
    assert store.row(3).document is None and store.row(3).place is None
    assert store.column("document").tolist() == [None] * 25
    assert store.column("place").tolist() == [-1] * 25


def test_shards_without_a_single_document_have_the_columns_of_the_others(stories, card, tmp_path):
    config = TokenizeCorpusConfig([str(stories)], str(card), str(tmp_path / "s"), 1, utterances_per_shard=5)
    assert tokenize_corpus(config).in_documents
    found = loaded(tmp_path / "s", tmp_path)
    assert found["document"] == [None] * 13 + ["story 0"] * 5 + ["story 1"] * 5
    assert found["place"] == [None] * 13 + list(range(5)) * 2
    assert verify(VerifyConfig(str(tmp_path / "s"), str(card))).num_utterances == 23


def test_stories_give_the_same_bytes_with_any_number_of_workers(stories, card, tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        tokenize_corpus(TokenizeCorpusConfig([str(stories)], str(card), str(tmp_path / name), workers, 5))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_finished_store_without_the_documents_of_its_manifest_is_not_taken_for_done(stories, card, tmp_path):
    config = TokenizeCorpusConfig([str(stories)], str(card), str(tmp_path / "s"), 1)
    header = tokenize_corpus(config)
    write_header(tmp_path / "s", dataclasses.replace(header, format=1))  # as one of before would say
    with pytest.raises(UserError, match=r"holds other work \(in_documents False, asked for True\)"):
        tokenize_corpus(config)


def test_documents_are_exported_and_come_back(stories, card, tmp_path):
    tokenize_corpus(TokenizeCorpusConfig([str(stories)], str(card), str(tmp_path / "a"), num_workers=1))
    dispatch(["export-units", str(tmp_path / "a"), "--output", str(tmp_path / "u.jsonl")])
    dispatch(["import-units", str(tmp_path / "u.jsonl"), "--output", str(tmp_path / "b"), "--tokenizer", str(card)])
    first, second = UnitStore.open(tmp_path / "a"), UnitStore.open(tmp_path / "b")
    assert [(row.document, row.place) for row in second] == [(row.document, row.place) for row in first]
    assert second.row(13).document == "story 0" and second.row(0).document is None


@pytest.mark.parametrize("place", [-1, 1.5, "2", True])
def test_a_place_that_is_none_is_refused_by_line(tmp_path, place):
    (tmp_path / "u.jsonl").write_text(json.dumps({"id": "a", "units": [1], "document": "d", "place": place}) + "\n")
    config = ImportUnitsConfig(
        [str(tmp_path / "u.jsonl")], str(tmp_path / "s"), codebook_sizes=[16], frame_rate_hz=10.0, language="en"
    )
    with pytest.raises(UserError, match="u.jsonl, line 1: place must be a whole number from 0 on"):
        import_units(config)


def test_a_manifest_says_the_documents_of_imported_units(tmp_path):
    (tmp_path / "u.jsonl").write_text('{"id": "a", "units": [1, 2]}\n{"id": "b", "units": [3], "place": null}\n')
    audio = {"audio": "a.wav", "text": "", "language": "en", "document": "d"}
    lines = [json.dumps({"id": name, "place": place, **audio}) + "\n" for place, name in enumerate("ab")]
    (tmp_path / "m.jsonl").write_text("".join(lines))
    config = ImportUnitsConfig([str(tmp_path / "u.jsonl")], str(tmp_path / "s"), codebook_sizes=[16],
                               frame_rate_hz=10.0, manifest=str(tmp_path / "m.jsonl"))  # fmt: skip
    assert [(row.document, row.place) for row in import_units(config)] == [("d", 0), ("d", 1)]


def test_show_tells_of_documents(tmp_path):
    store = store_of_stories(tmp_path / "store")
    assert "6 documents of 20 utterances" in show(ShowConfig(str(store.path)))
    assert show(ShowConfig(str(store.path), id="u7")).splitlines()[0].endswith(", s3, place 3 of story 1")
    assert "documents of" not in show(ShowConfig(str(make_store(tmp_path / "other").path)))


def test_verify_finds_shards_of_other_columns_than_the_header_says(tmp_path):
    store = store_of_stories(tmp_path / "store")
    write_header(store.path, dataclasses.replace(read_header(store.path), format=1))
    with pytest.raises(UserError, match="other columns than a store with codebooks of"):
        verify(VerifyConfig(str(store.path)))


def test_verify_finds_a_place_below_0(tmp_path):
    rows = [dataclasses.replace(row, place=-2) if row.id == "u9" else row for row in rows_of_stories()]
    write_store(tmp_path / "s", rows, codebook_sizes=(300,), in_documents=True, **FACTS)
    with pytest.raises(UserError, match="'u9': its place is below 0"):
        verify(VerifyConfig(str(tmp_path / "s")))


def test_taking_codebooks_keeps_documents(tmp_path):
    rows = rows_of_stories(num_codebooks=2)
    store = write_store(tmp_path / "s", rows, codebook_sizes=(300, 300), in_documents=True, **FACTS)
    kept = list(rows_of_first_codebooks(store, 1))
    assert [(row.document, row.place) for row in kept] == OF_DOCUMENTS
    assert np.array_equal(kept[3].units.ids[:1], rows[3].units.ids[:1, :1])


def test_a_store_of_a_later_version_is_refused(tmp_path):
    store = make_store(tmp_path / "store")
    write_header(store.path, dataclasses.replace(read_header(store.path), format=3))
    with pytest.raises(UserError, match="has format 3, this version reads 1 and 2"):
        UnitStore.open(store.path)
