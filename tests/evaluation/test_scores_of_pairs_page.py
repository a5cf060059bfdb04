"""The commands of docs/scores_of_pairs.md run on a tiny textless model, with its own YAML as far as there is data."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cslm import cli
from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units
from cslm.files.json_lines import write_json_lines
from cslm.units.store import write_store
from tests.docs.pages import blocks, commands
from tests.worlds.bigram_model import make_textless
from tests.worlds.spoken_stories import told_in
from tests.worlds.tiny_checkpoint import NUM_UNITS, make_card, tone

PAGE = "docs/scores_of_pairs.md"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """Stories in a store, recordings of endings, and a model, where the page has them."""
    monkeypatch.chdir(tmp_path)
    make_textless(tmp_path / "runs/textless", make_card(tmp_path / "card"))
    rows = [
        replace(
            row,
            units=Units(row.units.ids % NUM_UNITS, row.units.durations),
            group=f"{row.document}-{row.place}",
        )
        for row in told_in(["en", "fr"])
    ]
    write_store(
        tmp_path / "data/units/story_test", rows, fingerprint="unknown", card="tones", codebook_sizes=(NUM_UNITS,),
        frame_rate_hz=25.0, in_documents=True,
    )  # fmt: skip
    told = {(row.language, row.document, row.place): row.id for row in rows}
    documents = sorted({row.document for row in rows})
    pairs = [
        {"id": f"en-fr-topic-{number}", "kind": "topic", "direction": "en-fr", "document": document,
         "prefix": [told["en", document, 0], told["en", document, 1]], "ending": told["fr", document, 2],
         "wrong_ending": told["fr", documents[number - 1], 2]}
        for number, document in enumerate(documents)
    ]  # fmt: skip
    write_json_lines(pairs, tmp_path / "data/story_pairs.jsonl")
    for number in range(6):
        save_waveform(tmp_path / f"data/sSC/{number}_story.wav", tone(0.3, 16000, 150.0 + 90 * number, number), 16000)
    return tmp_path


def test_its_commands_score_and_compare(here: Path) -> None:
    settings = yaml.safe_load(blocks(PAGE, "yaml")[0])
    pairs = settings["scores"]["pairs"]
    pairs["folders"] = {"sSC": pairs["folders"]["sSC"]}
    settings["scores"]["alignment"]["same_speaker"] = False
    (here / "score.yaml").write_text(yaml.safe_dump(settings))
    score, *comparisons = [command.words for command in commands(PAGE)]
    assert score[:2] == ["cslm", "score"] and [words[1] for words in comparisons] == ["compare-pairs"] * 2
    cli.dispatch(score[1:])
    found = json.loads((here / "runs/textless/results.json").read_text())["scores"]
    assert found["pairs"].keys() == {"sSC", "stories"} and found["alignment"].keys() == {"stories"}
    for name in ("A", "B", "A0", "A1", "B0", "B1"):
        (here / name).mkdir()
        shutil.copy(here / "runs/textless/pairs.jsonl", here / name / "pairs.jsonl")
    for words in comparisons:
        cli.dispatch(words[1:])
    assert "stories" in (here / "compared.json").read_text()
