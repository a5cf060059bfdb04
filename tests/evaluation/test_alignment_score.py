"""The score ``alignment``: cosines known by eye, others of one speaker, what is refused and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import GPT2Config, GPT2LMHeadModel

from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units, merge_repeats
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.evaluation.aligned_sentences import alignment_scores, cosines, parallel_sentences, several_voices
from cslm.evaluation.hidden_states import pooled_states
from cslm.evaluation.score import main
from cslm.evaluation.spoken_source import Listed
from cslm.publishing.model_card import model_card
from cslm.publishing.report import main as report
from cslm.units.store import StoreRow, write_store
from tests.worlds.bigram_model import make_bigram
from tests.worlds.tiny_checkpoint import NUM_UNITS, tone

SENTENCES = {  # by group: units in English and in French, and who speaks French
    "a": ([1, 2], [1, 2], "mira"),
    "b": ([3, 4], [4, 3], "mira"),
    "c": ([5, 6], [5, 1], "mira"),
    "d": ([7], [1, 2], "otto"),
}


def write_sentences(folder: Path, sentences: dict[str, Any], **more: Any) -> str:
    rows = [
        StoreRow(f"{code}-{group}", code, "", 0.1, merge_repeats(Units(np.array(units)[:, None])), who, group)
        for group, (english, french, who) in sentences.items()
        for code, units in (("en", english), ("fr", french))
    ]
    write_store(folder, rows, fingerprint="unknown", card="x", codebook_sizes=(NUM_UNITS,), frame_rate_hz=25.0, **more)
    return folder.name


def score(checkpoint: Path, folder: Path, *more: str, **settings: Any) -> dict[str, Any]:
    path = folder / "score.yaml"
    path.write_text(yaml.safe_dump({"scores": {"alignment": settings}}))
    named = ["--data_root", str(folder), "--output", str(folder / "results.json"), *more]
    main([str(checkpoint), "--config", str(path), *named])
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())["scores"]["alignment"]
    return found


@pytest.fixture(scope="module")
def transparent(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose layers add nothing: a sentence is how often it holds each unit."""
    return make_bigram(checkpoint, tmp_path_factory.mktemp("transparent") / "model", {})


@pytest.fixture
def sentences(tmp_path: Path, cache: Path) -> dict[str, Any]:
    return {"sets": {"test": {"stores": [write_sentences(tmp_path / "store", SENTENCES)]}}}


def test_cosines_of_a_model_whose_states_are_known(
    transparent: Path, sentences: dict[str, Any], tmp_path: Path
) -> None:
    """a and b are the same in both languages, c half; of Mira's other sentences only a and c share a unit."""
    found = score(transparent, tmp_path, **sentences)["test"]["en-fr"]
    rows = {
        row["group"]: row for row in map(json.loads, (tmp_path / "alignment.jsonl").read_text().splitlines())
    }  # the French of d has no other sentence of its speaker
    assert list(rows) == ["a", "b", "c"] and found["n"] == 3 and found["left_out"] == 1
    for layer in range(3):
        assert [rows[group]["parallel"][layer] for group in "abc"] == pytest.approx([1, 1, 0.5], abs=1e-5)
        assert [rows[group]["random"][layer] for group in "abc"] == pytest.approx([0.25, 0, 0], abs=1e-5)
    for entry in (found["best_layer"], found["mean_over_layers"], *found["layers"]):
        assert entry["parallel"] == pytest.approx(2.5 / 3, abs=1e-4) and entry["random"] == pytest.approx(
            1 / 12, abs=1e-4
        )
        low, high = entry["difference_interval"]
        assert low == pytest.approx(0.5, abs=1e-4) and high == pytest.approx(1.0, abs=1e-4)
    assert [entry["layer"] for entry in found["layers"]] == [0, 1, 2] and found["best_layer"]["layer"] in (1, 2)


def test_a_sentence_may_be_compared_with_those_of_any_speaker(
    transparent: Path, sentences: dict[str, Any], tmp_path: Path
) -> None:
    found = score(transparent, tmp_path, **sentences, same_speaker=False)["test"]["en-fr"]
    assert found["n"] == 4 and "left_out" not in found
    assert found["mean_over_layers"]["parallel"] == pytest.approx(2.5 / 4, abs=1e-4)
    # a with c and d: (0.5 + 0 + 1) / 3; all others share nothing
    assert found["mean_over_layers"]["random"] == pytest.approx(1.5 / 3 / 4, abs=1e-4)


def test_languages_that_say_too_little_together_are_left_out_and_named(
    transparent: Path, sentences: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [StoreRow("ru-a", "ru", "", 0.1, merge_repeats(Units(np.array([[1], [2]]))), "mira", "a")]
    facts = {"fingerprint": "unknown", "card": "x", "codebook_sizes": (NUM_UNITS,), "frame_rate_hz": 25.0}
    write_store(tmp_path / "more", rows, **facts)
    sentences["sets"]["test"]["stores"].append("more")
    assert score(transparent, tmp_path, **sentences)["test"].keys() == {"en-fr"}
    said = "test: fewer than two sentences are parallel between en-ru, fr-ru: left out"
    assert said in capsys.readouterr().out


def test_random_is_the_mean_over_every_other_sentence():
    """The closed form against two loops."""
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 9, 3, 5))
    voices = ["u", "v", "u", "u", "w", "v", "u", None, None]
    parallel, random, has_others = cosines(first, second, voices)
    for i in range(9):
        for layer in range(3):
            one = first[i, layer] / np.linalg.norm(first[i, layer])
            all_cosines = [one @ second[j, layer] / np.linalg.norm(second[j, layer]) for j in range(9)]
            others = [all_cosines[j] for j in range(9) if j != i and voices[j] == voices[i]]
            assert parallel[i, layer] == pytest.approx(all_cosines[i])
            assert random[i, layer] == pytest.approx(np.mean(others) if others else 0.0)
    assert has_others.tolist() == [voice != "w" for voice in voices]


def test_sentences_of_a_document_are_drawn_together():
    rows = [
        {"group": str(index), "document": str(index // 5), "parallel": [0.0, value], "random": [0.0, 0.0]}
        for index, value in enumerate(np.repeat(np.random.default_rng(0).normal(size=12), 5).tolist())
    ]
    clustered = alignment_scores(rows, 1000, np.random.default_rng(0))
    alone = alignment_scores([{**row, "document": None} for row in rows], 1000, np.random.default_rng(0))
    assert clustered["num_clusters"] == 12 and "num_clusters" not in alone
    widths = [scores["best_layer"]["difference_interval"] for scores in (clustered, alone)]
    assert widths[0][1] - widths[0][0] > 1.5 * (widths[1][1] - widths[1][0])
    assert alignment_scores([], 1000, np.random.default_rng(0)) == {"n": 0}


def test_pooled_states_are_means_over_the_wanted_places_whatever_shares_the_batch():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=20)).eval()
    generator = np.random.default_rng(0)
    ids = [generator.integers(0, 20, length) for length in (3, 9, 5, 1)]
    places = [generator.random(len(one)) < 0.6 for one in ids]
    for one in places:
        one[-1] = True
    found = pooled_states(model, ids, places, 1000, "states")
    assert found.shape == (4, 3, 8)
    for one, where, states in zip(ids, places, found, strict=True):
        with torch.no_grad():
            layers = model(torch.from_numpy(one)[None], output_hidden_states=True).hidden_states
        plain = [layer[0][torch.from_numpy(where)].mean(dim=0).tolist() for layer in layers]
        assert states == pytest.approx(np.array(plain), abs=1e-5)
    assert pooled_states(model, ids, places, 1, "states") == pytest.approx(found, abs=1e-5)


def test_which_sentences_are_parallel():
    def one(name: str, language: str, group: str | None) -> Listed:
        return Listed(name, language, group, None, None)

    listed = [
        one("1", "en", "x"), one("2", "fr", "x"), one("3", "fr", "x"), one("4", "en", "y"), one("5", "de", "y"),
        one("6", "fr", "y"), one("7", "en", None), one("8", "de", "x"),
    ]  # fmt: skip
    found = parallel_sentences(listed, None, "test")
    names = {languages: [(a.id, b.id) for a, b in pairs] for languages, pairs in found.items()}
    assert names == {
        "de-en": [("8", "1"), ("5", "4")],
        "de-fr": [("8", "2"), ("5", "6")],
        "en-fr": [("1", "2"), ("4", "6")],
    }
    assert list(parallel_sentences(listed, ["fr", "en"], "test")) == ["fr-en"]
    assert parallel_sentences([*listed, one("9", "ru", "x")], None, "test") == found  # a third language stopped all
    with pytest.raises(
        UserError, match=r"test: fewer than two sentences are parallel between en-zh \(its groups have de"
    ):
        parallel_sentences(listed, ["en", "zh"], "test")
    with pytest.raises(UserError, match="its utterances have no group"):
        parallel_sentences([one("7", "en", None)], None, "test")


def test_of_several_voices_the_first_was_taken_without_a_word() -> None:
    named = [
        ("1", "en", "x"),
        ("2", "fr", "x"),
        ("3", "fr", "x"),
        ("4", "fr", "y"),
        ("5", "fr", "y"),
        ("6", "en", None),
    ]
    listed = [Listed(name, language, group, None, None) for name, language, group in named]
    assert several_voices(listed) == {"fr": 2}


def test_audio_of_a_manifest_is_aligned_and_an_endless_sentence_is_left_out_and_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    utterances = []
    for group in range(4):
        for code, frequency in (("en", 200.0), ("fr", 300.0)):
            long = group == 3 and code == "fr"
            waveform = tone(0.3, 16000, frequency + 70 * group)
            if long:
                waveform = np.concatenate([tone(0.08, 16000, 200.0 + 300 * (i % 2), i) for i in range(1300)])
            name = f"{code}-{group}"
            save_waveform(tmp_path / f"{name}.wav", waveform, 16000)
            utterances.append(
                Utterance(name, f"{name}.wav", "", code, group=str(group), document=str(group // 2), place=0)
            )
    write_manifest(utterances, tmp_path / "test.jsonl")
    found = score(checkpoint, tmp_path, sets={"test": {"manifests": ["test.jsonl"]}})["test"]["en-fr"]
    assert found["n"] == 3 and found["left_out"] == 1 and found["num_clusters"] == 2
    assert "1 utterances of test are left out of the alignment: fr-3 (" in capsys.readouterr().out
    assert -1 <= found["mean_over_layers"]["random"] <= found["mean_over_layers"]["parallel"] + 0.5 <= 1.5


def test_report_and_model_card_show_the_alignment(transparent: Path, sentences: dict[str, Any], tmp_path: Path) -> None:
    score(transparent, tmp_path, **sentences)
    report([str(tmp_path)])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "test, en-fr, mean over layers" in page and "0.750 <small>0.500–1.000</small>" in page
    results = json.loads((tmp_path / "results.json").read_text())
    assert "(best)" in model_card(transparent, "people/Voice", results)


def test_at_most_so_many_sentences_are_compared(transparent: Path, sentences: dict[str, Any], tmp_path: Path) -> None:
    found = score(transparent, tmp_path, "--max_items", "3", **sentences, same_speaker=False)
    assert found["test"]["en-fr"]["n"] == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sets": {}}, r"scores\.alignment\.sets names no set"),
        ({"sets": {"test": {}}}, r"scores\.alignment\.sets\.test: give stores, or else manifests"),
        ({"sets": {"test": {"stores": ["no"]}}}, r"no/header\.json"),
        ({"languages": ["en"]}, r"languages is \['en'\]: give two or more"),
        ({"languages": ["en", "zh"]}, r"sets\.test: fewer than two sentences are parallel between en-zh"),
        ({"languages": ["en", "english"]}, "english"),
        ({"batch_tokens": 0}, r"scores\.alignment\.batch_tokens"),
        ({"layer": 3}, r"alignment\.layer"),
    ],
)
def test_what_cannot_be_aligned_gets_one_line(
    transparent: Path, sentences: dict[str, Any], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        score(transparent, tmp_path, **(sentences | changed))
    assert not (tmp_path / "results.json").exists()


def test_sentences_that_all_have_speakers_of_their_own_are_refused(
    transparent: Path, cache: Path, tmp_path: Path
) -> None:
    own = {group: (english, french, group) for group, (english, french, _) in SENTENCES.items()}
    sets = {"test": {"stores": [write_sentences(tmp_path / "own", own)]}}
    with pytest.raises(UserError, match="no two of the 4 sentences in en-fr are of one speaker"):
        score(transparent, tmp_path, sets=sets)
    assert score(transparent, tmp_path, sets=sets, same_speaker=False)["test"]["en-fr"]["n"] == 4
