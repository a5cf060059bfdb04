"""The score ``pairs``: accuracies known by eye, slamkit's definition written anew, what is refused or left out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch.nn.functional import cross_entropy

from cslm import CSLMForCausalLM
from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units, merge_repeats
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.evaluation.pair_rows import MEASURES, pair_scores, won
from cslm.evaluation.score import main
from cslm.evaluation.spoken_sequences import Framing, spoken_ids
from cslm.files.json_lines import write_json_lines
from cslm.publishing.model_card import model_card
from cslm.publishing.report import main as report
from cslm.units.store import StoreRow, write_store
from tests.worlds.bigram_model import make_bigram
from tests.worlds.tiny_checkpoint import NUM_UNITS, tone

FINGERPRINT = "unknown"


def write_units(folder: Path, units: Mapping[str, Sequence[int]], fingerprint: str = FINGERPRINT) -> str:
    """A store of utterances by their ids, whose language their names begin with."""
    rows = [
        StoreRow(name, name[:2], "", len(row) / 25, merge_repeats(Units(np.array(row, dtype=np.int64)[:, None])))
        for name, row in units.items()
    ]
    write_store(folder, rows, fingerprint=fingerprint, card="tones", codebook_sizes=(NUM_UNITS,), frame_rate_hz=25.0)
    return folder.name


def pair(name: str, prefix: Sequence[str], ending: str, wrong: str, **more: str) -> dict[str, Any]:
    return {"id": name, "kind": "topic", "prefix": list(prefix), "ending": ending, "wrong_ending": wrong, **more}


def score(checkpoint: Path, folder: Path, *more: str, **settings: Any) -> dict[str, Any]:
    path = folder / "score.yaml"
    path.write_text(yaml.safe_dump({"scores": {"pairs": settings}}, sort_keys=False))
    named = ["--data_root", str(folder), "--output", str(folder / "results.json"), *more]
    main([str(checkpoint), "--config", str(path), *named])
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())["scores"]["pairs"]
    return found


def rows_of(folder: Path, name: str = "pairs.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def bigram(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After unit 3 it expects 5; what follows all else it does not know."""
    return make_bigram(checkpoint, tmp_path_factory.mktemp("bigram") / "bigram", {3: 5})


@pytest.fixture
def stories(tmp_path: Path, cache: Path) -> dict[str, Any]:
    """Three beginnings, and endings that the model finds likely (``-yes``), unlikely (``-no``), or likely and long."""
    units = {
        "en-a": [1, 2], "fr-a": [7, 8], "en-b": [2, 1], "en-yes": [3, 5, 1], "en-no": [3, 6, 1],
        "fr-yes": [2, 3, 5], "fr-no": [2, 5, 3], "fr-long": [3, 5, 3, 5, 3, 5], "fr-short": [9],
    }  # fmt: skip
    pairs = [
        pair("0", ["en-a", "en-b"], "en-yes", "en-no", document="s0", direction="en-en"),
        pair("1", ["en-a"], "en-no", "en-yes", document="s0", direction="en-en"),
        pair("2", ["en-b"], "en-yes", "en-yes", document="s1", direction="en-en"),
        pair("3", ["en-b"], "en-yes", "en-no", document="s1", direction="en-en"),
        pair("4", ["en-a"], "fr-yes", "fr-no"),
        pair("5", ["en-a"], "fr-long", "fr-short"),
    ]
    write_json_lines(pairs, tmp_path / "story_pairs.jsonl")
    return {
        "manifests": {"village": {"pairs": "story_pairs.jsonl", "stores": [write_units(tmp_path / "store", units)]}}
    }


def test_accuracies_of_a_model_whose_likelihoods_are_known(
    bigram: Path, stories: dict[str, Any], tmp_path: Path
) -> None:
    """Right, wrong, tied, right; the long ending is likelier by the id, the short one in all."""
    found = score(bigram, tmp_path, **stories)["village"]["topic"]
    assert list(found) == ["en-en", "en-fr"]
    assert found["en-en"]["accuracy"] == found["en-en"]["sum_accuracy"] == 0.625
    assert found["en-en"]["ties"] == dict.fromkeys(found["en-en"]["ties"], 1) and found["en-en"]["n"] == 4
    assert found["en-fr"]["accuracy"] == found["en-fr"]["ending_accuracy"] == 1.0
    assert found["en-fr"]["sum_accuracy"] == found["en-fr"]["ending_only_sum_accuracy"] == 0.5
    low, high = found["en-en"]["accuracy_interval"]
    assert 0.2 < low < 0.25 < 0.9 < high < 0.95
    assert found["en-en"]["num_clusters"] == 2 and found["en-en"]["accuracy_interval_by_document"] == [0.5, 0.75]
    assert "accuracy_interval_by_document" not in found["en-fr"]


def test_the_rows_hold_what_the_scores_were_made_of(bigram: Path, stories: dict[str, Any], tmp_path: Path) -> None:
    found = score(bigram, tmp_path, **stories)
    first = (tmp_path / "pairs.jsonl").read_bytes()
    rows = rows_of(tmp_path)
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4", "5"] and {row["set"] for row in rows} == {"village"}
    for direction, scores in found["village"]["topic"].items():
        chosen = [row for row in rows if row["direction"] == direction]
        assert pair_scores(chosen, 2000, np.random.default_rng(0)) == scores
    assert score(bigram, tmp_path, **stories) == found and (tmp_path / "pairs.jsonl").read_bytes() == first


def test_the_likelihood_of_an_ending_is_that_of_the_whole_without_the_prefix(
    checkpoint: Path, stories: dict[str, Any], tmp_path: Path
) -> None:
    """One row by hand: a plain forward pass over <sosp>...<eosp><sosp>...<eosp> and the end of the document."""
    score(checkpoint, tmp_path, **stories)
    row = next(row for row in rows_of(tmp_path) if row["id"] == "4")
    model = CSLMForCausalLM.from_pretrained(checkpoint).eval()
    vocabulary, end = model.processor.vocabulary, model.processor.tokenizer.eos_token_id

    def spoken(*units: int) -> list[int]:
        return [vocabulary.sosp, *(vocabulary.unit_id(unit) for unit in units), vocabulary.eosp]

    def losses(ids: list[int]) -> list[float]:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1]
        return cross_entropy(logits, torch.tensor(ids[1:]), reduction="none").tolist()

    prefix, ending = spoken(1, 2), [*spoken(2, 3, 5), end]
    whole, alone = losses(prefix + ending), losses(ending)
    wanted = {"whole": whole, "ending": whole[len(prefix) - 1 :], "ending_only": alone}
    for way, values in wanted.items():
        assert row[way]["right"]["ids"] == len(values)
        assert row[way]["right"]["nll"] == pytest.approx(sum(values), rel=1e-5)


@pytest.mark.parametrize("markers", [True, False])
def test_what_stands_around_and_what_counts_is_a_choice(model: Any, markers: bool) -> None:
    form, vocabulary, end = model.processor.form, model.processor.vocabulary, model.processor.tokenizer.eos_token_id
    said = [(Units(np.array([[4], [6]])), "en"), (Units(np.array([[9]])), "fr")]
    four, six, nine = (vocabulary.unit_id(unit) for unit in (4, 6, 9))
    opened, closed = ([vocabulary.sosp], [vocabulary.eosp]) if markers else ([], [])
    first, second = [*opened, four, six, *closed], [*opened, nine, *closed]
    for around, before, after in (("document", [], [end]), ("ends", [end], [end]), ("nothing", [], [])):
        written = spoken_ids(form, said, Framing(around, markers))
        ids = [*before, *first, *second, *after]
        assert written.ids.tolist() == ids and written.counted.tolist() == [False] + [True] * (len(ids) - 1)
        assert written.ids[written.counts_of_last()].tolist() == [*second, *after]
        units = spoken_ids(form, said, Framing(around, markers, "units"))
        nothing_before_four = not before and not markers
        assert units.ids[units.counted].tolist() == ([six, nine] if nothing_before_four else [four, six, nine])
        assert units.ids[units.counts_of_last()].tolist() == [nine]
        assert spoken_ids(form, said[1:], Framing(around, markers)).last_start == len(before)


def test_a_pair_of_which_nothing_counts_is_left_out(bigram: Path, stories: dict[str, Any], tmp_path: Path) -> None:
    """A unit alone has nothing before it that it could follow."""
    store = write_units(tmp_path / "short", {"en-one": [9], "en-two": [9, 8]})
    lines = [
        pair("0", [], "en-one", "en-two"),
        pair("1", ["en-two"], "en-one", "en-two"),
        pair("2", [], "en-two", "en-two"),
    ]
    write_json_lines(lines, tmp_path / "short.jsonl")
    settings = {"manifests": {"short": {"pairs": "short.jsonl", "stores": [store]}}, "around": "nothing"}
    found = score(bigram, tmp_path, **settings, markers=False, unscorable="leave_out")["short"]["topic"]
    assert found["en"]["n"] == found["en"]["left_out"] == 1 and found["en-en"] == {"n": 0, "left_out": 1}
    reasons = [row["reason"] for row in rows_of(tmp_path, "pairs_left_out.jsonl")]
    assert reasons == ["too short: no id counts (whole)", "too short: no id counts (ending_only)"]
    assert score(bigram, tmp_path, **settings)["short"]["topic"]["en"]["n"] == 2


def test_probability_may_be_shared_among_units_alone(bigram: Path, stories: dict[str, Any], tmp_path: Path) -> None:
    """Among 16 units, <sosp>, <eosp> and the end: after 1 each has a nineteenth."""
    score(bigram, tmp_path, **stories, among="units", counted="units")
    row = next(row for row in rows_of(tmp_path) if row["id"] == "5")
    assert row["ending_only"]["wrong"]["nll"] == pytest.approx(math.log(NUM_UNITS + 3), abs=1e-4)
    assert row["ending_only"]["wrong"]["ids"] == 1


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Pairs in slamkit's layouts: tones and noises, one of two channels, one pair of twins."""
    generator = np.random.default_rng(0)
    for index in range(8):
        waveform = tone(0.3 + 0.05 * index, 16000, 150.0 + 60 * (index * 5 % 8), seed=index)
        if index % 3 == 1:
            waveform = (0.3 * generator.standard_normal(len(waveform))).astype(np.float32)
        save_waveform(tmp_path / "sSC" / f"{index}_story.wav", waveform, 16000)
    both = np.stack([tone(0.4, 16000, 300.0), tone(0.4, 16000, 700.0)], axis=1)
    soundfile.write(tmp_path / "sSC" / "8_two.wav", both, 16000)
    save_waveform(tmp_path / "sSC" / "9_one.wav", tone(0.4, 16000, 700.0), 16000)
    for name in ("10_twin", "11_twin"):
        save_waveform(tmp_path / "sSC" / f"{name}.wav", tone(0.4, 16000, 250.0), 16000)
    for number in range(2):
        for side in range(2):
            waveform = tone(0.3, 16000, 200.0 + 90 * number + 150 * side)
            save_waveform(tmp_path / "salmon" / "rir_consistency" / f"sample_{number}_{side}.wav", waveform, 16000)
    return tmp_path


FOLDERS = {
    "sSC": {"path": "sSC", "layout": "storycloze"},
    "SALMon": {"path": "salmon", "layout": "salmon", "parts": ["rir_consistency"]},
}


def slamkits(checkpoint: Path, folder: Path, mean_nll: bool, markers: bool) -> float:
    """slamkit's accuracy as its documentation and behaviour define it: sorted by number, two by two, ``<S>`` around."""
    model = CSLMForCausalLM.from_pretrained(checkpoint).eval()
    vocabulary, s = model.processor.vocabulary, model.processor.tokenizer.eos_token_id
    likelihoods = []
    for path in sorted(folder.glob("*.wav"), key=lambda path: int(path.name.split("_")[0])):
        waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
        units = model.processor.units((waveform[:, 0], rate)).ids[:, 0].tolist()
        speech = [vocabulary.unit_id(unit) for unit in units]
        ids = torch.tensor([[s, *([vocabulary.sosp, *speech, vocabulary.eosp] if markers else speech), s]])
        with torch.no_grad():
            logits = model(ids).logits
        likelihoods.append(-cross_entropy(logits[0, :-1], ids[0, 1:], reduction="mean" if mean_nll else "sum"))
    pairs = list(zip(likelihoods[::2], likelihoods[1::2], strict=True))
    return sum(1.0 if right > wrong else 0.5 if right == wrong else 0.0 for right, wrong in pairs) / len(pairs)


@pytest.mark.parametrize(("batch_tokens", "markers"), [(1, False), (8192, True)])
def test_folders_are_scored_as_slamkit_defines_it(
    checkpoint: Path, recordings: Path, batch_tokens: int, markers: bool
) -> None:
    settings = {"folders": FOLDERS, "around": "ends", "batch_tokens": batch_tokens, "markers": markers}
    found = score(checkpoint, recordings, **settings)
    scores, folder = found["sSC"]["storycloze"]["en"], recordings / "sSC"
    assert scores["accuracy"] == pytest.approx(slamkits(checkpoint, folder, True, markers), abs=1e-5)
    assert scores["sum_accuracy"] == pytest.approx(slamkits(checkpoint, folder, False, markers), abs=1e-5)
    assert scores["n"] == 6 and scores["ties"] == {"accuracy": 1, "sum_accuracy": 1}
    assert 0 < scores["accuracy"] < 1 and "ending_accuracy" not in scores
    assert found["SALMon"]["rir_consistency"]["en"]["n"] == 2
    rows = rows_of(recordings)
    assert rows[-1]["id"] == "rir_consistency/sample_1_0.wav" and set(rows[0]) & {"whole", "ending"} == {"whole"}


def test_audio_of_manifests_is_scored_as_a_store_of_its_units(
    checkpoint: Path, recordings: Path, cache: Path, tmp_path: Path
) -> None:
    names = [f"{index}_story" for index in range(4)]
    utterances = [Utterance(f"en-{name}", f"sSC/{name}.wav", "", "en") for name in names]
    write_manifest(utterances[:2], tmp_path / "first.jsonl")
    write_manifest(utterances[2:], tmp_path / "second.jsonl")
    model = CSLMForCausalLM.from_pretrained(checkpoint)
    units = {one.id: model.processor.units(tmp_path / one.audio) for one in utterances}
    rows = [StoreRow(name, "en", "", 0.3, found) for name, found in units.items()]
    fingerprint = model.processor.fingerprint
    assert fingerprint.startswith("sha256:")
    write_store(
        tmp_path / "units", rows, fingerprint=fingerprint, card="tones", codebook_sizes=(NUM_UNITS,), frame_rate_hz=25.0
    )
    first, second, third, fourth = units
    write_json_lines([pair("0", [first], second, third), pair("1", [], fourth, second)], tmp_path / "pairs_of.jsonl")
    results, found = [], []
    for source in ({"manifests": ["first.jsonl", "second.jsonl"]}, {"stores": ["units"]}):
        results.append(score(checkpoint, tmp_path, manifests={"pairs": {"pairs": "pairs_of.jsonl", **source}}))
        found.append(rows_of(tmp_path))
    assert results[0] == results[1] and found[0] == found[1]
    assert results[0]["pairs"]["topic"].keys() == {"en-en", "en"}
    assert "ending" in found[0][0] and "ending" not in found[0][1]


def test_pairs_that_cannot_be_scored_are_refused_or_left_out_and_listed(
    bigram: Path, stories: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = rows_of(tmp_path, "story_pairs.jsonl")
    units = {"en-endless": [1, 2] * 600, "en-a": [1], "en-yes": [3, 5]}
    write_units(tmp_path / "more", units)
    pairs[3]["ending"] = "en-lost"
    write_json_lines(
        [*pairs[2:4], pair("9", ["en-b"], "en-endless", "en-yes", direction="en-en")], tmp_path / "few.jsonl"
    )
    stores = {"stores": ["store", "endless"]}
    write_units(tmp_path / "endless", {"en-endless": [1, 2] * 600})
    settings = {"manifests": {"few": {"pairs": "few.jsonl", **stores}}}
    with pytest.raises(UserError, match=r"2 of 3 pairs of few cannot be scored: 3 \(en-lost: .*1207 ids, .* leave_out"):
        score(bigram, tmp_path, **settings)
    assert not (tmp_path / "results.json").exists()
    found = score(bigram, tmp_path, **settings, unscorable="leave_out")
    assert found["few"]["topic"]["en-en"]["n"] == 1 and found["few"]["topic"]["en-en"]["left_out"] == 2
    assert [(row["id"], row["set"]) for row in rows_of(tmp_path, "pairs_left_out.jsonl")] == [
        ("3", "few"),
        ("9", "few"),
    ]
    assert "2 of 3 pairs of few cannot be scored" in capsys.readouterr().out
    with pytest.raises(UserError, match="two stores hold the utterance 'en-a'"):
        score(bigram, tmp_path, manifests={"few": {"pairs": "story_pairs.jsonl", "stores": ["store", "more"]}})


def test_a_recording_that_cannot_be_read_is_named(checkpoint: Path, recordings: Path) -> None:
    (recordings / "sSC" / "3_story.wav").write_bytes(b"RIFF")
    save_waveform(recordings / "sSC" / "4_story.wav", tone(0.002, 16000), 16000)
    folders = {"sSC": FOLDERS["sSC"]}
    with pytest.raises(
        UserError, match=r"2 of 6 pairs of sSC cannot be scored: 2_story\.wav \(3_story\.wav: .*too short"
    ):
        score(checkpoint, recordings, folders=folders)
    found = score(checkpoint, recordings, folders=folders, unscorable="leave_out")
    assert found["sSC"]["storycloze"]["en"]["n"] == 4


def test_where_nothing_can_be_scored_there_is_a_count_and_no_accuracy(
    bigram: Path, stories: dict[str, Any], tmp_path: Path
) -> None:
    write_json_lines([pair("0", [], "en-lost", "en-yes")], tmp_path / "lost.jsonl")
    settings = {"lost": {"pairs": "lost.jsonl", "stores": ["store"]}}
    found = score(bigram, tmp_path, manifests=settings, unscorable="leave_out")
    assert found == {"lost": {"topic": {"unknown": {"n": 0, "left_out": 1}}}}


def test_at_most_so_many_pairs_of_each_kind_and_direction_are_scored(
    bigram: Path, stories: dict[str, Any], tmp_path: Path
) -> None:
    found = score(bigram, tmp_path, "--max_items", "2", **stories)["village"]["topic"]
    assert {direction: scores["n"] for direction, scores in found.items()} == {"en-en": 2, "en-fr": 2}
    assert [row["id"] for row in rows_of(tmp_path)] == ["0", "3", "4", "5"]


def test_report_and_model_card_show_the_pairs(bigram: Path, stories: dict[str, Any], tmp_path: Path) -> None:
    score(bigram, tmp_path, **stories)
    report([str(tmp_path)])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "village, topic, en-en" in page and "62.5 % <small>50.0–75.0</small>" in page and "ending only" in page
    results = json.loads((tmp_path / "results.json").read_text())
    assert "village, topic, en-fr" in model_card(bigram, "people/Voice", results)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"manifests": {}}, r"scores\.pairs names no pairs"),
        ({"around": "slamkit"}, r"scores\.pairs\.around is 'slamkit': choose one of document, ends, nothing"),
        ({"counted": "some"}, "counted"),
        ({"among": "text"}, "among"),
        ({"unscorable": "ignore"}, "unscorable"),
        ({"batch_tokens": 0}, r"scores\.pairs\.batch_tokens is 0"),
        ({"num_resamples": 5}, r"num_resamples is 5"),
        ({"beam": 4}, r"pairs\.beam"),
        ({"folders": {"village": {"path": "x", "layout": "storycloze"}}}, "both folders and manifests 'village'"),
        ({"folders": {"x": {"path": "no", "layout": "storycloze"}}}, "no: there is no such folder"),
        ({"folders": {"x": {"path": "no", "layout": "blimp"}}}, "layout is 'blimp'"),
        ({"folders": {"x": {"path": "no", "layout": "swuggy", "sep": "+"}}}, "sep"),
        ({"manifests": {"a": {"pairs": "story_pairs.jsonl"}}}, r"scores\.pairs\.manifests\.a: give stores, or else"),
        ({"manifests": {"a": {"pairs": "no.jsonl", "stores": ["store"]}}}, r"no\.jsonl: there is no such file"),
        ({"manifests": {"a": {"pairs": "story_pairs.jsonl", "stores": ["no"]}}}, r"no/header\.json"),
    ],
)
def test_what_cannot_be_scored_gets_one_line(
    bigram: Path, stories: dict[str, Any], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        score(bigram, tmp_path, **(stories | changed))
    assert not (tmp_path / "results.json").exists()


def test_units_of_another_tokenizer_are_refused(bigram: Path, stories: dict[str, Any], tmp_path: Path) -> None:
    write_units(tmp_path / "other", {"en-a": [1]}, fingerprint="sha256:" + "0" * 64)
    with pytest.raises(UserError, match=r"the store .*other was made with another speech tokenizer"):
        score(bigram, tmp_path, manifests={"a": {"pairs": "story_pairs.jsonl", "stores": ["other"]}})
    rows = [StoreRow("en-a", "en", "", 0.1, Units(np.array([[1, 2]])))]
    write_store(tmp_path / "two", rows, fingerprint="unknown", card="x", codebook_sizes=(16, 16), frame_rate_hz=25.0)
    with pytest.raises(UserError, match=r"has codebooks \[16, 16\], .* \[16\]"):
        score(bigram, tmp_path, manifests={"a": {"pairs": "story_pairs.jsonl", "stores": ["two"]}})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ending": None}, "line 2: ending must be a text"),
        ({"prefix": "en-a"}, "line 2: prefix must be a list"),
        ({"prefix": [3]}, "line 2: prefix must be a list"),
        ({"id": "0"}, "line 2: the id '0' was used before"),
        ({"document": 7}, "line 2: document must be a text"),
        ({"direction": None}, "line 2: direction must be a text"),
        ({"prefix_language": "english", "ending_language": "fr"}, "line 2: 'english' is no language tag"),
    ],
)
def test_a_line_that_is_no_pair_is_named(
    bigram: Path, stories: dict[str, Any], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    lines = [pair("0", [], "en-yes", "en-no"), pair("1", [], "en-yes", "en-no") | changed]
    write_json_lines(lines, tmp_path / "story_pairs.jsonl")
    with pytest.raises(UserError, match=message):
        score(bigram, tmp_path, **stories)


def test_a_pair_is_won_by_the_mean_or_by_the_sum() -> None:
    row = {"whole": {"right": {"nll": 6.0, "ids": 3}, "wrong": {"nll": 5.0, "ids": 2}}}
    assert won(row, MEASURES["accuracy"]) == 1.0 and won(row, MEASURES["sum_accuracy"]) == 0.0
    row["whole"]["wrong"] = {"nll": 4.0, "ids": 2}
    assert won(row, MEASURES["accuracy"]) == 0.5
