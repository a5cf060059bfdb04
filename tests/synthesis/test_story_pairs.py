"""Pairs of endings from StoryCloze's tables, and from stories that are spoken already."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")

from cslm.corpora.manifest import Utterance, read_manifest, write_manifest
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.synthesis.cloze_texts import cloze_stories
from cslm.synthesis.drawn_pairs import SpokenStory, story_pairs
from cslm.synthesis.pair_recordings import write_pair_recordings
from cslm.synthesis.prepare_corpus import prepare_corpus

CLOZE = ["InputStoryid", *(f"InputSentence{number}" for number in range(1, 5))]
CLOZE += ["RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2", "AnswerRightEnding"]
WORDS = {"Tom": "Tom", "Mia": "Mia", "Ben": "Ben"}


def sentences(name):
    """Four sentences and two endings, in English and French; the first ending is right."""
    english = "_ woke up. _ saw a dog. It was sad. _ gave it bread. The dog loved _. The dog forgot _."
    french = "_ se leva. _ vit un chien. Il était triste. _ lui donna du pain. Le chien aima _. Le chien oublia _."
    return tuple([f"{one.strip('.')}." for one in text.replace("_", name).split(". ")] for text in (english, french))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table as StoryCloze has it, of three stories, and their translations."""
    folder = tmp_path_factory.mktemp("cloze")
    with (folder / "cloze.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CLOZE)
        for number, name in enumerate(WORDS):
            english, _ = sentences(name)
            endings = english[4:] if number % 2 == 0 else english[:3:-1]
            writer.writerow([f"id-{name}", *english[:4], *endings, 1 + number % 2])
    pairs = dict.fromkeys(pair for name in WORDS for pair in zip(*sentences(name), strict=True))
    (folder / "table.tsv").write_text("en\tfr\n" + "".join(f"{one}\t{other}\n" for one, other in pairs))
    return folder


def options(tables, *more):
    return [
        *(
            "--table",
            str(tables / "cloze.csv"),
            "--source",
            "en",
            "--targets",
            "[fr]",
            "--pairs.kinds",
            "[topic, cloze]",
        ),
        *("--translator.table.path", str(tables / "table.tsv"), "--synthesizer.espeak.variants", "[m1]", *more),
    ]


def rows(path):
    return [row for _, row in read_json_lines(path)]


@pytest.fixture(scope="module")
def corpus(tables, tmp_path_factory):
    """Pairs of both kinds with their recordings."""
    output = tmp_path_factory.mktemp("pairs") / "corpus"
    assert prepare_corpus("story_pairs", output, options(tables, "--pairs.recordings_hz", "16000"))
    return output


def test_every_direction_and_kind_has_a_pair_of_each_story(corpus):
    pairs = rows(corpus / "story_pairs.jsonl")
    assert Counter((pair["kind"], pair["direction"]) for pair in pairs) == {
        (kind, direction): 3 for kind in ("topic", "cloze") for direction in ("en-en", "en-fr", "fr-en", "fr-fr")
    }
    assert len({pair["id"] for pair in pairs}) == 24


def test_a_pair_reads_as_it_should(corpus):
    texts = {one.id: (one.language, one.text) for one in read_manifest(corpus / "manifest.jsonl")}
    for pair in rows(corpus / "story_pairs.jsonl"):
        name = pair["document"].removeprefix("id-")
        begins, ends = (
            dict(zip(("en", "fr"), sentences(name), strict=True))[pair[f"{part}_language"]]
            for part in ("prefix", "ending")
        )
        assert [texts[one][1] for one in pair["prefix"]] == begins[:4]
        assert texts[pair["ending"]] == (pair["ending_language"], ends[4])
        language, wrong = texts[pair["wrong_ending"]]
        assert language == pair["ending_language"]
        if pair["kind"] == "cloze":
            assert wrong == ends[5]
        else:
            assert wrong.endswith(tuple(f"{other}." for other in WORDS if other != name))


def test_the_same_wrong_ending_stands_in_every_direction(corpus):
    groups = {one.id: one.group for one in read_manifest(corpus / "manifest.jsonl")}
    wrong = {}
    for pair in rows(corpus / "story_pairs.jsonl"):
        wrong.setdefault((pair["kind"], pair["document"]), set()).add(groups[pair["wrong_ending"]])
    assert all(len(found) == 1 for found in wrong.values())


def test_recordings_lie_as_slamkit_sorts_them(corpus):
    by_id = {one.id: one for one in read_manifest(corpus / "manifest.jsonl")}
    pairs = [
        pair for pair in rows(corpus / "story_pairs.jsonl") if (pair["kind"], pair["direction"]) == ("topic", "en-fr")
    ]
    files = sorted((corpus / "slamkit" / "topic-en-fr").glob("*.wav"), key=lambda file: int(file.name.split("_")[0]))
    assert [file.name for file in files[:3]] == ["0_correct.wav", "1_incorrect.wav", "2_correct.wav"]
    assert len(files) == 2 * len(pairs)
    for place, pair in enumerate(pairs):
        for file, ending in zip(files[2 * place :], (pair["ending"], pair["wrong_ending"]), strict=False):
            seconds = sum(by_id[name].duration_sec for name in (*pair["prefix"], ending))
            info = soundfile.info(file)
            assert (info.samplerate, info.channels) == (16000, 1)
            assert info.duration == pytest.approx(seconds, abs=0.01)


def test_the_pairs_are_those_that_the_score_reads(corpus):
    pair_manifest = pytest.importorskip("cslm.evaluation.pair_manifest", reason="there is no score of pairs yet")
    read = pair_manifest.read_pairs(corpus / "story_pairs.jsonl")
    assert len(read) == 24 and read[0].direction == "en-en"


def test_rocstories_have_no_wrong_endings_of_their_own(tables, tmp_path):
    table = tmp_path / "roc.csv"
    header = ["storyid", "storytitle", *(f"sentence{number}" for number in range(1, 6))]
    lines = [",".join([f"id-{name}", "A title", *(f'"{one}"' for one in sentences(name)[0][:5])]) for name in WORDS]
    table.write_text("\n".join([",".join(header), *lines]) + "\n")
    given = [*options(tables), "--table", str(table)]
    with pytest.raises(UserError, match="has no wrong endings, for pairs of the kind cloze"):
        prepare_corpus("story_pairs", tmp_path / "out", given)
    assert prepare_corpus("story_pairs", tmp_path / "out", [*given, "--pairs.kinds", "[topic]"])
    assert len(rows(tmp_path / "out" / "story_pairs.jsonl")) == 12


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", "is none of those of StoryCloze and ROCStories"),
        ("", "is empty; a table of StoryCloze or ROCStories is wanted"),
        (",".join(CLOZE) + "\n1,a,b,c,d,e,f,3\n", "line 2: AnswerRightEnding is '3'"),
        (",".join(CLOZE) + "\n1,a,b,c,d,e,e ,1\n", "line 2: both endings are 'e'; correct or remove the line"),
        (",".join(CLOZE) + "\n1,a,b,,d,e,f,1\n", "line 2: InputSentence3 is empty"),
        (",".join(CLOZE) + "\n1,a,b,c,d,e,f,1\n1,a,b,c,d,e,f,2\n", "line 3: the id '1' stands in line 2 too"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, content, says):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(UserError, match=says):
        list(cloze_stories(str(tmp_path / "table.csv")))


def spoken(name, ending, speaker="m1"):
    def one(place, text):
        return Utterance(f"en-{name}-{place}", "a.wav", text, "en", speaker=speaker, document=name, place=place)

    return SpokenStory(name, {"en": [one(0, f"{name} begins.")]}, {"en": one(1, ending)})


def test_only_endings_of_the_same_voice_and_of_other_words_are_wrong(capsys):
    stories = [
        spoken("a", "One."),
        spoken("b", "One."),
        spoken("c", "Two."),
        spoken("d", "Three.", "f1"),
        spoken("e", "Four.", "f1"),
    ]
    found = {pair["document"]: pair["wrong_ending"] for pair in story_pairs(stories, ["topic"], 1, 0, "tales")}
    assert found["a"] == found["b"] == "en-c-1" and found["c"] in ("en-a-1", "en-b-1")
    assert (found["d"], found["e"]) == ("en-e-1", "en-d-1")
    pairs = list(story_pairs(stories, ["topic"], 2, 0, "tales"))
    assert len(pairs) == 5
    assert "5 of 5 stories have fewer than 2 wrong endings of the kind topic; 5 pairs a direction are missing" in (
        capsys.readouterr().out
    )
    with pytest.raises(UserError, match="not one pair of the kind topic can be made of 1 stories"):
        list(story_pairs(stories[:1], ["topic"], 1, 0, "tales"))


def test_many_stories_are_paired_without_looking_at_all_of_them():
    stories = [spoken(f"{number}", f"Ending {number}.") for number in range(1000)]
    pairs = list(story_pairs(stories, ["topic"], 3, 0, "tales"))
    assert len(pairs) == 3000
    assert all(pair["ending"] != pair["wrong_ending"] for pair in pairs)
    assert len({(pair["document"], pair["wrong_ending"]) for pair in pairs}) == 3000


@pytest.fixture
def manifest(tmp_path, generator):
    """Four stories of three sentences in two languages, as noise of different lengths."""
    utterances = []
    for number in range(4):
        for language in ("en", "fr"):
            for place in range(3):
                name = f"{language}-{number}-{place}"
                soundfile.write(tmp_path / f"{name}.wav", generator.normal(size=800 + 100 * place) * 0.1, 8000)
                utterances.append(
                    Utterance(name, f"{name}.wav", f"text {name}", language, document=f"s{number}", place=place)
                )
    write_manifest(utterances, tmp_path / "story_test.jsonl")
    return tmp_path / "story_test.jsonl"


def test_pairs_of_stories_that_are_spoken_already(manifest, tmp_path):
    given = ["--manifests", f"[{manifest}]", "--longest_beginning", "1", "--pairs.recordings_hz", "8000"]
    assert prepare_corpus("topic_pairs", tmp_path / "out", given)
    pairs = rows(tmp_path / "out" / "story_pairs.jsonl")
    assert len(pairs) == 16 and all(len(pair["prefix"]) == 1 for pair in pairs)
    kept = {one.id: one for one in read_manifest(tmp_path / "out" / "manifest.jsonl")}
    assert {name for pair in pairs for name in (*pair["prefix"], pair["ending"], pair["wrong_ending"])} == set(kept)
    assert all((tmp_path / "out" / one.audio).is_file() for one in kept.values())
    info = soundfile.info(tmp_path / "out" / "slamkit" / "topic-en-fr" / "0_correct.wav")
    assert info.frames == 900 + 1000


@pytest.mark.parametrize("french", ["other documents", "groups alone"])
def test_stories_that_groups_alone_link_were_refused(french, manifest, tmp_path):
    """Training joins them: documents of two languages with the same groups, or groups that one language has alone."""
    changed = []
    for one in read_manifest(manifest):
        one.group = f"{one.document}-{one.place}"
        if one.language == "fr":
            one.document = f"conte-{one.document}" if french == "other documents" else None
            one.place = one.place + 10 if french == "other documents" else None
        changed.append(one)
    write_manifest(changed, manifest)
    given = ["--manifests", f"[{manifest}]", "--longest_beginning", "1", "--pairs.recordings_hz", "8000"]
    assert prepare_corpus("topic_pairs", tmp_path / "out", given)
    pairs = rows(tmp_path / "out" / "story_pairs.jsonl")
    assert len(pairs) == 16 and {pair["direction"] for pair in pairs} == {"en-en", "en-fr", "fr-en", "fr-fr"}
    across = next(pair for pair in pairs if pair["direction"] == "en-fr")
    (before,), after = across["prefix"], across["ending"]
    assert before.replace("en", "fr")[:-1] == after[:-1]  # of one story


def test_a_kind_twice_wrote_each_pair_twice_under_one_id(manifest, tmp_path):
    given = ["--manifests", f"[{manifest}]", "--pairs.kinds", "[topic, topic]", "--languages", "[en_US, fr-FR]"]
    assert prepare_corpus("topic_pairs", tmp_path / "out", given)
    pairs = rows(tmp_path / "out" / "story_pairs.jsonl")
    assert len({pair["id"] for pair in pairs}) == len(pairs)
    assert {pair["direction"] for pair in pairs} == {"en-en", "en-fr", "fr-en", "fr-fr"}
    with pytest.raises(UserError, match="--manifests names none: give those of the stories"):
        prepare_corpus("topic_pairs", tmp_path / "none", ["--manifests", "[]"])


def test_stories_that_are_not_whole_are_left_out_and_listed(manifest, tmp_path, capsys):
    lines = [line for line in manifest.read_text().splitlines() if json.loads(line)["id"] != "fr-2-1"]
    manifest.write_text("\n".join(lines) + "\n")
    prepare_corpus("topic_pairs", tmp_path / "out", ["--manifests", f"[{manifest}]"])
    assert rows(tmp_path / "out" / "rejected.jsonl") == [{"id": "s2", "audio": "", "reason": "has no place 1 in fr"}]
    assert "1 stories left out" in capsys.readouterr().out
    assert prepare_corpus("topic_pairs", tmp_path / "en", ["--manifests", f"[{manifest}]", "--languages", "[en]"])
    assert len(rows(tmp_path / "en" / "story_pairs.jsonl")) == 4
    with pytest.raises(UserError, match="nothing is in de; there are en, fr"):
        prepare_corpus("topic_pairs", tmp_path / "de", ["--manifests", f"[{manifest}]", "--languages", "[de]"])


def test_recordings_have_pauses_where_they_are_asked_for(manifest, tmp_path):
    utterances = {one.id: one for one in read_manifest(manifest)}
    pair = {
        "kind": "topic",
        "direction": "en-en",
        "prefix": ["en-0-0", "en-0-1"],
        "ending": "en-0-2",
        "wrong_ending": "en-1-2",
    }
    write_pair_recordings([pair], utterances, manifest.parent, 8000, 0.5)
    info = soundfile.info(manifest.parent / "slamkit" / "topic-en-en" / "0_correct.wav")
    assert info.frames == 800 + 900 + 1000 + 2 * 4000
