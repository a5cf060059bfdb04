"""Where the commands of pages are typed: audio, tables and recipes at hand, the hamlet as ``runs/village``."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from tests.docs.pages import text_of
from tests.docs.walking import walk, write_dialogues
from tests.recipes.conftest import ROOT, hamlet  # noqa: F401

LIBRI = "train-clean-100/84/121123"


@pytest.fixture(scope="session")
def place(hamlet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A folder with everything that the pages take for granted."""
    here = tmp_path_factory.mktemp("place")
    (here / "runs").mkdir()
    for name in ("recipes", "tools", "tokenizers"):
        (here / name).symlink_to(ROOT / name)
    shutil.copytree(hamlet, here / "runs" / "village")
    manifest = [json.loads(line) for line in (hamlet / "corpus" / "train.jsonl").read_text("utf-8").splitlines()]
    chosen = [row for row in manifest if row["language"] == "zh"][:12]
    table = ["id\ttext\tpath\tsentence\tspeaker"]
    for number, row in enumerate(chosen):
        audio = hamlet / "corpus" / row["audio"]
        for name in (f"AUDIO/wav/{row['id']}.wav", f"AUDIO/a/{number}.flac"):
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(audio, here / name)
        table.append(f"{row['id']}\t{row['text']}\ta/{number}\t{row['text']}\tann")
    write(here / "AUDIO" / "table.tsv", "\n".join(table))
    for name in ("QUESTION.wav", "question.wav"):
        shutil.copy(hamlet / "corpus" / chosen[0]["audio"], here / name)
    write_known_corpora(here)
    write_instructions(here)
    rows = [{"id": str(number), "title": "Un", "text": f"phrase {number}"} for number in range(5)]
    datasets.Dataset.from_list(rows).to_parquet(here / "wikipedia" / "train.parquet")
    return here


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def write_known_corpora(here: Path) -> None:
    """An utterance each, in the layouts of LJSpeech, LibriSpeech, AISHELL and Common Voice."""
    write(here / "LJ/metadata.csv", 'LJ001-0001|"Printing", in the|Printing, in the')
    write(here / LIBRI / "84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR")
    write(here / "data_aishell/transcript/aishell_transcript_v0.8.txt", "BAC009S0002W0122 而 对 楼市")
    write(here / "cv/validated.tsv", "path\tsentence\tlocale\nen_1.wav\tHello there.\ten")
    audio = ("LJ/wavs/LJ001-0001.wav", f"{LIBRI}/84-121123-0000.flac", "data_aishell/wav/S0002/BAC009S0002W0122.wav")
    for name in (*audio, "cv/clips/en_1.wav"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / "QUESTION.wav", here / name)


def write_instructions(here: Path) -> None:
    """What the page on spoken instructions shows, and a list of a recording with four texts beside its archive."""
    shown = re.findall(r"^```(?:json)?\n(.*?)^```", text_of("docs/instruction_data.md"), re.MULTILINE | re.DOTALL)
    write(here / "pairs.json", shown[0])
    write(here / "table.tsv", shown[1])
    named = ("wav", "instruction_de", "instruction_en", "response_en", "response_de", "txt", "out")
    line = {**dict.fromkeys(named, "Wort"), "wav": "de/0001.wav", "extra": {"q": "word", "a": "word"}}
    write(here / "MAS/de.list", json.dumps(line))
    with tarfile.open(here / "MAS/de.tar.gz", "w:gz") as archive:
        archive.add(here / "QUESTION.wav", "de/0001.wav")


@pytest.fixture
def typing(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place as the working directory, with a cache of its own."""
    monkeypatch.setenv("CSLM_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def mine(place: Path) -> Iterator[Path]:
    """``runs/mine``, made by the commands of the page on an own corpus."""
    before = Path.cwd()
    os.chdir(place)
    try:
        walk("docs/own_corpus.md", before={"finetune": lambda: write_dialogues(place / "runs" / "mine" / "corpus")})
    finally:
        os.chdir(before)
    return place / "runs" / "mine"
