"""The village as a corpus: what lies in the folder, and that what is held out is never heard."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from cslm.audio.waveform import load_waveform
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.files.json_lines import read_json_lines
from cslm.synthesis.prepare_corpus import prepare_corpus
from cslm.village import speech as village_speech
from cslm.village.prepare_village import VillageConfig, _generator, _tellers
from cslm.village.script import MANIFESTS
from cslm.village.speech import draw_cast
from cslm.village.tables import load_language, load_size

DOCUMENTS = ("train_dialogues", "test_dialogues", "texts", "instructions", "text_dialogues", "translations")


def records(corpus, name):
    return [record for _, record in read_json_lines(corpus / f"{name}.jsonl")]


@pytest.fixture(scope="module")
def tellers():
    told, _ = _tellers(load_size("tiny"), *(_generator(VillageConfig("tiny"), stage) for stage in (0, 1000)))
    return {teller.language.language: teller for teller in told}


@pytest.fixture(scope="module")
def card(tiny_village):
    return json.loads((tiny_village / "card.json").read_text(encoding="utf-8"))


def test_everything_is_there_and_every_clip_is_as_long_as_it_says(tiny_village, card):
    names = {*(f"{name}.jsonl" for name in MANIFESTS + DOCUMENTS), "audio", "held_out.json", "card.json", "config.yaml"}
    assert {path.name for path in tiny_village.iterdir()} == names
    for name in MANIFESTS:
        rows = list(read_manifest(tiny_village / f"{name}.jsonl"))
        assert len(rows) == card["manifests"][name]["num_utterances"] > 0
        assert {row.language for row in rows} == {"en", "zh"}
        for row in rows[::7]:
            waveform, rate_hz = load_waveform(resolve_audio(tiny_village / "train.jsonl", row))
            assert rate_hz == 22050 and len(waveform) == round(row.duration_sec * rate_hz)
            assert row.words[-1][2] <= row.duration_sec


def test_ids_are_unique_over_all_manifests_and_documents(tiny_village):
    ids = [record["id"] for name in MANIFESTS + DOCUMENTS for record in records(tiny_village, name)]
    assert len(ids) == len(set(ids))


def test_what_is_held_out_is_never_heard(tiny_village, tellers, card):
    held_out = {tuple(pair) for pair in json.loads((tiny_village / "held_out.json").read_text())}
    assert len(held_out) == card["num_held_out"] >= 0.2 * card["num_people"] * len(card["attributes"])
    people = card["languages"]["en"]["people"]
    world = tellers["en"].world
    assert held_out == {(people[person], card["attributes"][attribute]) for person, attribute in world.held_out}
    heard = list(read_manifest(tiny_village / "train.jsonl"))
    assert not [row.text for row in heard if tellers[row.language].mentions.join_held_out(row.text)]
    joined = [row for row in heard if tellers[row.language].mentions.read(row.text)[1]]
    assert len(joined) > len(heard) / 3  # the check sees something


def test_what_is_held_out_is_read(tiny_village, tellers):
    world = tellers["en"].world
    texts = [row["text"] for row in records(tiny_village, "texts")]
    for code, teller in tellers.items():
        answers = " ".join(
            row["answer_text"] for row in records(tiny_village, "text_dialogues") if row["answer_language"] == code
        )
        for pair in world.held_out:
            name, value = teller.names[pair[0]], world.value(teller.language, pair)
            assert any(name in text and value in text for text in texts)
            assert any(teller.fact(pair, wording)[1:] in answers for wording in range(3))


def test_tests_share_no_sentence_with_training(tiny_village):
    heard = {(row.language, row.text) for row in read_manifest(tiny_village / "train.jsonl")}
    for name in MANIFESTS[1:]:
        assert not heard & {(row.language, row.text) for row in read_manifest(tiny_village / f"{name}.jsonl")}


def test_voices(tiny_village, card):
    for code, voices in card["languages"].items():
        heard = {row.speaker for row in read_manifest(tiny_village / "train.jsonl") if row.language == code}
        assert heard == {voices["answer_voice"], *voices["question_voices"]}
        unheard = {
            row.speaker for row in read_manifest(tiny_village / "asr_unheard_voice.jsonl") if row.language == code
        }
        assert unheard == {voices["unheard_voice"]} and not unheard & heard
        accent = voices["unheard_voice"].split("+")[0]
        assert accent in {voice.split("+")[0] for voice in voices["question_voices"]}
        tts = {row.speaker for row in read_manifest(tiny_village / "tts_test.jsonl") if row.language == code}
        assert tts == {voices["answer_voice"]}


def test_training_dialogues_go_in_all_directions_and_point_at_their_audio(tiny_village, tellers):
    heard = {row.id: row for row in read_manifest(tiny_village / "train.jsonl")}
    rows = records(tiny_village, "train_dialogues")
    counts = Counter((row["direction"], row["kind"]) for row in rows)
    assert len(counts) == 8 and len({count for (_, kind), count in counts.items() if kind == "fact"}) == 1
    for row in rows:
        question, answer = heard[row["question"]], heard[row["answer"]]
        assert (question.text, question.language) == (row["question_text"], row["question_language"])
        assert (answer.text, answer.language) == (row["answer_text"], row["answer_language"])
        assert row["direction"] == f"{question.language}-{answer.language}"
        asked = tellers[question.language].mentions.read(question.text)
        answered = tellers[answer.language].mentions.read(answer.text)
        if row["kind"] == "fact":
            assert asked[0] == answered[0] and asked[1] & answered[1]
        elif question.language == answer.language:
            assert question.text == answer.text and question.speaker != answer.speaker
        else:
            assert question.group == answer.group


def test_test_dialogues_say_what_is_right_and_what_is_wrong(tiny_village, tellers):
    spoken = {row.id: row for row in read_manifest(tiny_village / "dialogue_test.jsonl")}
    rows = records(tiny_village, "test_dialogues")
    assert Counter(row["direction"] for row in rows) == dict.fromkeys(("en-en", "en-zh", "zh-en", "zh-zh"), 2)
    for row in rows:
        assert spoken[row["question"]].text == row["question_reference"]
        name, value = row["fact"]
        teller = tellers[row["answer_language"]]
        assert name in row["answer_reference"] and value in row["answer_reference"]
        assert not [word for word in row["wrong_facts"] if word in row["answer_reference"]]
        assert len(row["wrong_facts"]) == len(teller.names) - 1 + 9
        assert teller.mentions.join_held_out(row["answer_reference"])


def test_groups_say_the_same_thing(tiny_village, tellers):
    by_group: dict[str, dict[str, str]] = {}
    for row in read_manifest(tiny_village / "train.jsonl"):
        if row.group is not None:
            assert by_group.setdefault(row.group, {}).setdefault(row.language, row.text) == row.text
    assert all(len(texts) == 2 for texts in by_group.values())
    for texts in by_group.values():
        assert tellers["en"].mentions.read(texts["en"])[0] == tellers["zh"].mentions.read(texts["zh"])[0]


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tiny_village, tmp_path, monkeypatch):
    assert prepare_corpus("village", tmp_path / "again", ["--size", "tiny", "--num_workers", "2"])
    first, second = _contents(tiny_village), _contents(tmp_path / "again")
    assert first.keys() == second.keys()
    assert not [name for name, content in first.items() if second[name] != content]


def test_another_seed_is_another_village(tiny_village, tmp_path, monkeypatch):
    monkeypatch.setattr(village_speech, "save_waveform", lambda *_, **__: None)
    assert prepare_corpus("village", tmp_path / "other", ["--size", "tiny", "--num_workers", "1", "--seed", "1"])
    cards = [json.loads((folder / "card.json").read_text()) for folder in (tiny_village, tmp_path / "other")]
    assert cards[0]["languages"]["en"]["facts"] != cards[1]["languages"]["en"]["facts"]
    assert (tiny_village / "held_out.json").read_text() != (tmp_path / "other" / "held_out.json").read_text()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("code", ["en", "zh", "fr", "de", "ja"])
def test_a_cast_has_different_voices_and_an_unheard_one_of_a_heard_accent(code, seed):
    size = load_size("full")
    cast = draw_cast(load_language(code, size), size.num_question_voices, np.random.default_rng(seed))
    voices = [*cast.heard, cast.unheard, cast.answer.voice]
    assert len(set(voices)) == len(voices) == size.num_question_voices + 2
    assert cast.unheard.split("+")[0] in {voice.split("+")[0] for voice in cast.heard}
    assert cast.unheard.split("+")[1] not in {voice.split("+")[1] for voice in cast.heard}


def _contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
