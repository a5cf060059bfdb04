"""Stories from texts to manifests: what every sentence knows, what is left out, and runs that were killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter

import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")

import cslm.synthesis.telling
from cslm.corpora.manifest import read_manifest
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.synthesis.espeak_voices import EspeakVoices
from cslm.synthesis.prepare_corpus import prepare_corpus
from cslm.synthesis.written_stories import is_test
from tests.worlds.told_stories import options, stories, write_texts


def rows(path):
    return [row for _, row in read_json_lines(path)]


def files(folder):
    """Name and content of every file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Texts of six stories and the table of their translations."""
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, texts):
    """A corpus made of them, three of its stories for tests."""
    output = tmp_path_factory.mktemp("stories") / "corpus"
    assert prepare_corpus("stories", output, options(*texts, "--test_share", "0.5"))
    return output


def test_every_sentence_knows_its_story_its_place_its_group_and_its_speaker(corpus):
    utterances = [one for name in ("train", "test") for one in read_manifest(corpus / f"story_{name}.jsonl")]
    told = stories(6)
    assert len(utterances) == 6 * 3 * 2
    for one in utterances:
        number = int(one.document.removeprefix("story-"))
        assert one.text == told[number][one.place][one.language == "fr"]
        assert one.group == f"{one.document}-{one.place}"
        info = soundfile.info(corpus / one.audio)
        assert info.frames / info.samplerate == pytest.approx(one.duration_sec, abs=1e-5)
    groups = Counter(one.group for one in utterances)
    assert set(groups.values()) == {2}
    speakers = {one.document: set() for one in utterances}
    for one in utterances:
        speakers[one.document].add(one.speaker)
    assert all(len(names) == 1 for names in speakers.values())
    assert set().union(*speakers.values()) <= {"m1", "m3", "f1"} and len(set().union(*speakers.values())) > 1


def test_the_list_of_stories_has_the_form_of_the_villages(corpus):
    listed = rows(corpus / "stories.jsonl")
    by_id = {one.id: one for name in ("train", "test") for one in read_manifest(corpus / f"story_{name}.jsonl")}
    tests = {one.document for one in read_manifest(corpus / "story_test.jsonl")}
    for row in listed:
        assert row["held_out"] == (row["id"] in tests)
        for language, names in row["utterances"].items():
            assert [by_id[name].text for name in names] == row["texts"][language]
    assert 0 < len(tests) < len(listed) == 6


def test_the_corpus_says_how_it_was_made_and_no_path(corpus, texts):
    card = json.loads((corpus / "card.json").read_text())
    assert card["corpus"] == "stories" and card["texts"] == {"name": "tales.txt"}
    assert card["translators"]["fr"]["translator"] == "table"
    assert sum(card["manifests"][name]["fr"]["num_utterances"] for name in ("story_train", "story_test")) == 18
    assert str(texts[0].parent) not in (corpus / "card.json").read_text()
    assert not list(corpus.rglob(".*"))
    heard = {one.audio for name in ("train", "test") for one in read_manifest(corpus / f"story_{name}.jsonl")}
    assert heard == {path.relative_to(corpus).as_posix() for path in corpus.rglob("*.wav")}


def test_the_same_again_is_the_same_bytes_and_other_processes_change_nothing(corpus, texts, tmp_path, monkeypatch):
    assert prepare_corpus("stories", tmp_path / "again", options(*texts, "--test_share", "0.5"))
    assert files(tmp_path / "again") == files(corpus)
    assert not prepare_corpus(
        "stories", tmp_path / "again", options(*texts, "--test_share", "0.5", "--num_workers", "2")
    )


def test_several_processes_make_the_same(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(cslm.synthesis.telling, "STORIES_OF_A_PART", 2)
    assert prepare_corpus("stories", tmp_path / "one", options(*texts))
    assert prepare_corpus("stories", tmp_path / "two", options(*texts, "--num_workers", "2"))
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    one.pop("config.yaml"), two.pop("config.yaml")
    assert one == two


def test_a_story_with_a_sentence_that_cannot_be_used_is_left_out_or_cut(texts, tmp_path, capsys):
    table = tmp_path / "table.tsv"
    lines = texts[1].read_text().splitlines()
    gone = next(line for line in lines if line.startswith("Ben gave it bread"))
    table.write_text("\n".join(line for line in lines if line != gone) + "\n")
    given = options(texts[0], table, "--max_rejected_share", "0.5", "--test_share", "0")
    assert prepare_corpus("stories", tmp_path / "whole", given)
    assert rows(tmp_path / "whole" / "rejected.jsonl") == [
        {
            "id": "story-00000002",
            "audio": "",
            "reason": "sentence 2 in fr: stands not in the table of translations",
        }
    ]
    assert "1 stories left out (see rejected.jsonl)" in capsys.readouterr().out
    assert prepare_corpus("stories", tmp_path / "cut", [*given, "--cut_at_failure", "true"])
    assert [row["id"] for row in rows(tmp_path / "cut" / "noted.jsonl")] == ["story-00000002"]
    lengths = Counter(one.document for one in read_manifest(tmp_path / "cut" / "story_train.jsonl"))
    assert lengths["story-00000002"] == 4 and lengths["story-00000001"] == 6
    with pytest.raises(UserError, match=r"is made, with 5 stories, but 1 were left out \(16.7%"):
        prepare_corpus("stories", tmp_path / "strict", options(texts[0], table))
    assert (tmp_path / "strict" / "stories.jsonl").is_file()


def test_each_reason_has_its_story(tmp_path):
    texts = tmp_path / "texts.jsonl"
    long = "word " * 60
    told = ["One.", "", f"A dog ran. A {long}ran.", "A dog ran. A cat slept."]
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*told, None]))
    table = tmp_path / "table.tsv"
    table.write_text(f"en\tfr\nA dog ran.\tUn chien courut.\nA cat slept.\tUn chat dormit.\nA {long}ran.\tUn mot.\n")
    prepare_corpus(
        "stories", tmp_path / "out", options(texts, table, "--max_rejected_share", "1", "--max_letters", "90")
    )
    assert [(row["id"], row["reason"]) for row in rows(tmp_path / "out" / "rejected.jsonl")] == [
        ("story-00000000", "has 1 sentences, 2 to 100 are wanted"),
        ("story-00000001", "has 0 sentences, 2 to 100 are wanted"),
        ("story-00000002", "sentence 1 in en: has 244 letters, 90 at most are wanted"),
        ("story-00000004", "has 0 sentences, 2 to 100 are wanted"),
    ]


def test_one_language_needs_no_translator(texts, tmp_path):
    given = ["--texts.path", str(texts[0]), "--source", "en", "--targets", "[]", "--splitter", "punctuation"]
    assert prepare_corpus("stories", tmp_path / "out", [*given, "--synthesizer.espeak.pitch", "40"])
    assert {one.language for one in read_manifest(tmp_path / "out" / "story_train.jsonl")} == {"en"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--targets", "[de]"], "has no pairs from en into de"),
        (["--targets", "[en]"], "not all different languages"),
        (["--targets", "[klingon]"], "language"),
        (["--splitter", "words"], "--splitter is one of"),
        (["--texts.path", "nowhere/at/all.txt"], "nowhere/at/all.txt"),
        (["--synthesizer.espeak.variants", "[f2]"], "differs from run to run"),
        (["--synthesizer.vits.model", "x"], "espeak and vits are given"),
        (["--min_sentences", "7", "--max_sentences", "3"], "max_sentences"),
        (["--texts.shard", "2", "--texts.num_shards", "2"], "texts.shard is 2"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_made(texts, tmp_path, more, says):
    with pytest.raises(UserError, match=says):
        prepare_corpus("stories", tmp_path / "out", [*options(*texts), *more])
    assert not (tmp_path / "out").exists()


def test_shards_share_the_stories(texts, tmp_path):
    for shard in range(2):
        more = ["--texts.num_shards", "2", "--texts.shard", str(shard), "--test_share", "0"]
        prepare_corpus("stories", tmp_path / str(shard), options(*texts, *more))
    parts = [[row["id"] for row in rows(tmp_path / str(shard) / "stories.jsonl")] for shard in range(2)]
    assert parts == [[f"story-{number:08d}" for number in range(shard, 6, 2)] for shard in range(2)]


def test_the_share_of_tests_is_about_what_is_asked_for():
    drawn = [is_test(f"story-{number:08d}", 0.25, 3) for number in range(2000)]
    assert 0.22 < sum(drawn) / 2000 < 0.28


def run_and_say(output, given, said):
    """Make the corpus in this process, slowly, and tell of every text that is said."""
    say = EspeakVoices._say

    def slowly(self, *of_a_text):
        said.send("said")
        time.sleep(0.02)
        return say(self, *of_a_text)

    EspeakVoices._say = slowly
    prepare_corpus("stories", output, given)
    said.send("done")


def test_killed_ten_times_it_is_the_same_bytes(texts, tmp_path, monkeypatch):
    """The kills come while the third text of a run is said."""
    monkeypatch.setattr(cslm.synthesis.telling, "STORIES_OF_A_PART", 2)
    assert prepare_corpus("stories", tmp_path / "whole", options(*texts))
    context = multiprocessing.get_context("fork")
    heard: list[list[str]] = []
    while not heard or heard[-1][-1] != "done":
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run_and_say, args=(tmp_path / "killed", options(*texts), theirs))
        process.start()
        theirs.close()
        heard.append([])
        while heard[-1][-1:] != ["done"] and (len(heard) > 10 or len(heard[-1]) < 3):
            heard[-1].append(ours.recv())
        if len(heard) <= 10:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == (-signal.SIGKILL if len(heard) <= 10 else 0)
    assert len(heard) == 11
    assert len(heard[-1]) - 1 < 36, "what was said before was said again"
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
