"""Scores of textless models: an ending that only its beginning makes likely, slamkit's sequence, frames and runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy

from cslm import CSLMForCausalLM
from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units, merge_repeats
from cslm.evaluation.score import main
from cslm.files.json_lines import read_json_lines, write_json_lines
from cslm.units.store import StoreRow, write_store
from tests.worlds.bigram_model import make_bigram, make_textless
from tests.worlds.tiny_checkpoint import NUM_UNITS, make_card, tone

UNITS = {"en-0": [1, 3], "en-1": [2, 4], "fr-0": [5, 1, 2], "fr-1": [6, 6, 1, 2], "fr-2": [7, 1, 2]}
GROUPS = {"en-0": "0", "en-1": "1", "fr-0": "0", "fr-1": "1", "fr-2": "2"}


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_card(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def bigrams(card: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """After 3 comes 5, after 4 comes 6: one that writes every frame, one that merges repeats."""
    root = tmp_path_factory.mktemp("textless")
    plain = {name: make_textless(root / f"{name}_0", card, merges) for name, merges in (("frames", 0), ("runs", 1))}
    return {name: make_bigram(folder, root / name, {3: 5, 4: 6}) for name, folder in plain.items()}


@pytest.fixture
def world(tmp_path: Path, cache: Path) -> Path:
    """Two beginnings in English, endings in French; the second ending goes on for a frame."""
    rows = [
        StoreRow(name, name[:2], "", 0.1, merge_repeats(Units(np.array(row)[:, None])), "mira", GROUPS[name], None,
                 f"story-{GROUPS[name]}", 0)
        for name, row in UNITS.items()
    ]  # fmt: skip
    write_store(
        tmp_path / "store", rows, fingerprint="unknown", card="tones", codebook_sizes=(NUM_UNITS,), frame_rate_hz=25.0,
        in_documents=True,
    )  # fmt: skip
    lines = [("0", "en-0", "fr-0", "fr-1"), ("1", "en-1", "fr-1", "fr-0"), ("2", "en-0", "fr-2", "fr-0")]
    fields = ("id", "prefix", "ending", "wrong_ending")
    pairs = [{"kind": "topic", **dict(zip(fields, line, strict=True)), "prefix": [line[1]]} for line in lines]
    write_json_lines(pairs, tmp_path / "pairs.jsonl.of")
    return tmp_path


def score(checkpoint: Path, folder: Path, **scores: Any) -> dict[str, Any]:
    path = folder / "score.yaml"
    path.write_text(yaml.safe_dump({"scores": scores}))
    main([str(checkpoint), "--config", str(path), "--data_root", str(folder), "--output", str(folder / "results.json")])
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())["scores"]
    return found


PAIRS = {"manifests": {"test": {"pairs": "pairs.jsonl.of", "stores": ["store"]}}}


@pytest.mark.parametrize("kind", ["frames", "runs"])
def test_what_only_the_beginning_makes_likely_is_a_tie_without_it(
    bigrams: dict[str, Path], world: Path, kind: str
) -> None:
    """The beginnings end with 3 and 4, after which 5 and 6 are expected; endings alone are all as likely by the id."""
    found = score(bigrams[kind], world, pairs=PAIRS)["pairs"]["test"]["topic"]["en-fr"]
    assert found["accuracy"] == found["ending_accuracy"] == pytest.approx(2 / 3, abs=1e-5)
    assert found["ending_only_accuracy"] == 0.5 and found["ties"]["ending_only_accuracy"] == 3
    rows = {row["id"]: row for _, row in read_json_lines(world / "pairs.jsonl")}
    vocabulary_rows = CSLMForCausalLM.from_pretrained(bigrams[kind]).lm_head.weight.shape[0]
    total = math.log(vocabulary_rows - 1 + math.e**4)
    uniform = math.log(vocabulary_rows)
    # 5 after 3, then 1, 2 and the end of the document
    assert rows["0"]["ending"]["right"] == {"nll": pytest.approx(total - 4 + 3 * uniform, abs=1e-4), "ids": 4}
    wrong_ids = {"frames": 5, "runs": 4}[kind]  # 6 6 1 2 and the end
    assert rows["0"]["ending"]["wrong"] == {
        "nll": pytest.approx(total + (wrong_ids - 1) * uniform, abs=1e-4),
        "ids": wrong_ids,
    }
    # nothing stands before the first unit of a document of training
    assert rows["0"]["ending_only"]["right"]["ids"] == 3


@pytest.mark.parametrize("merges", [False, True])
def test_recordings_are_scored_as_slamkit_does_between_two_ends(card: Path, tmp_path: Path, merges: bool) -> None:
    folder = make_textless(tmp_path / "model", card, merges)
    for number in range(12):
        waveform = tone(0.2 + 0.07 * (number * 5 % 7), 16000, 120.0 + 75 * number, seed=number)
        save_waveform(tmp_path / "tSC" / f"{number}_story.wav", waveform, 16000)
    found = score(
        folder, tmp_path, pairs={"around": "ends", "folders": {"tSC": {"path": "tSC", "layout": "topiccloze"}}}
    )
    model: Any = CSLMForCausalLM.from_pretrained(folder).eval()
    s = model.processor.tokenizer.eos_token_id
    losses = []
    for number in range(12):
        units = model.processor.units(tmp_path / "tSC" / f"{number}_story.wav")
        assert (units.durations is not None) == merges
        ids = torch.tensor([[s, *units.ids[:, 0].tolist(), s]])
        with torch.no_grad():
            losses.append(float(cross_entropy(model(ids).logits[0, :-1], ids[0, 1:])))
    pairs = list(zip(losses[::2], losses[1::2], strict=True))
    right = [1.0 if first < second else 0.5 if first == second else 0.0 for first, second in pairs]
    scores = found["pairs"]["tSC"]["topiccloze"]["en"]
    assert scores["accuracy"] == pytest.approx(sum(right) / 6, abs=1e-5)
    rows = [row for _, row in read_json_lines(tmp_path / "pairs.jsonl")]
    means = [row["whole"][side]["nll"] / row["whole"][side]["ids"] for row in rows for side in ("right", "wrong")]
    assert means == pytest.approx(losses, abs=1e-5)


def test_languages_of_a_textless_model_are_aligned(bigrams: dict[str, Path], world: Path) -> None:
    """Layers add nothing: 1 3 and 5 1 2 share one unit of two and three, 2 4 and 6 6 1 2 one of two and four."""
    found = score(bigrams["frames"], world, alignment={"sets": {"test": {"stores": ["store"]}}})["alignment"]["test"]
    assert found["en-fr"]["n"] == 2 and "num_clusters" not in found["en-fr"]
    first, second = 1 / math.sqrt(2 * 3), 1 / math.sqrt(2 * 6)
    assert found["en-fr"]["mean_over_layers"]["parallel"] == pytest.approx((first + second) / 2, abs=1e-4)
    rows = [row for _, row in read_json_lines(world / "alignment.jsonl")]
    assert [(row["group"], row["document"]) for row in rows] == [("0", "story-0"), ("1", "story-1")]
