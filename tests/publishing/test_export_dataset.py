"""A corpus as a data set: it opens in datasets, comes back as the same utterances, and leaves no trace of a machine."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import yaml

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio, write_manifest
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.publishing import push_to_hub as hub
from cslm.publishing.export_dataset import ExportDatasetConfig, export_dataset, main
from cslm.publishing.push_to_hub import PushToHubConfig, push_to_hub
from cslm.synthesis.prepare_corpus import prepare_corpus
from tests.worlds.small_corpus import contents, glide

RATE_HZ = 16000
CHAIN = {
    "id": "de-chain-0",
    "question": "de-0",
    "question_language": "de",
    "question_text": "Wo wohnt Anna?",
    "answer_text": "Im Wald.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus with all that a manifest may say: whole files, a stretch and a channel of a longer one, a story."""
    corpus = tmp_path / "corpus"
    save_waveform(corpus / "audio" / "a.wav", glide(0, 0.5), RATE_HZ)
    soundfile.write(corpus / "audio" / "b.flac", glide(1, 0.75), RATE_HZ)
    both = np.stack([glide(2, 2.0), glide(3, 2.0)], axis=1)
    soundfile.write(corpus / "audio" / "long.wav", both, RATE_HZ)
    whole, story = str((corpus / "audio" / "a.wav").resolve()), {"document": "s1"}
    words = [("Im", 0.0, 0.2), ("Wald", 0.2, 0.7)]
    train = [
        Utterance("de-0", "audio/a.wav", "Wo wohnt Anna?", "de", speaker="ida", group="g0", place=0, **story),
        Utterance("de-1", "audio/b.flac", "Im Wald | tief.", "de", duration_sec=0.75, words=words),
        Utterance("de-2", "audio/long.wav", "Ein Stück.", "de", 0.5, 1.0, speaker="ida", channel=1),
        Utterance("zh-3", whole, "安娜住在哪里？", "zh-TW", speaker="li", group="g0"),
        Utterance("de-4", "audio/long.wav", "Der Anfang.", "de", duration_sec=1.0, place=1, **story),
    ]
    write_manifest(train, corpus / "train.jsonl")
    write_manifest(train[:1], corpus / "asr_test.jsonl")
    write_json_lines([CHAIN, {**CHAIN, "id": "de-chain-1", "facts": ["Wald"]}], corpus / "chains.jsonl")
    rejected = [{"id": "7", "audio": "", "reason": "code in the answer", "kind": "code"}]
    write_json_lines(rejected * 2, corpus / "rejected.jsonl")
    options = {"corpus": "spoken_instructions", "pairs": f"{tmp_path}/alpaca.json", "url": "http://10.1.2.3/v1"}
    made = {"made_by": {"speech, de": "3 voices"}, "translators": {"de": {"translator": "table", "sha256": "12ab"}}}
    (corpus / "card.json").write_text(json.dumps(made))
    (corpus / "config.yaml").write_text(yaml.safe_dump({**options, "speech": {"rate_wpm": 160}}))
    return corpus


def export(folder: Path, **options: Any) -> Path:
    """The data set beside the corpus."""
    output = folder.parent / options.pop("output", "set")
    export_dataset(ExportDatasetConfig(str(folder), str(output), **options))
    return output


def opened(output: Path, name: str, split: str, cache: Path) -> Any:
    """One split as datasets opens it, audio as bytes."""
    rows = datasets.load_dataset(str(output), name, split=split, cache_dir=str(cache))
    return rows.cast_column("audio", datasets.Audio(decode=False)) if "audio" in rows.column_names else rows


def heard(manifest: Path) -> dict[str, np.ndarray]:
    """The samples of each utterance by id."""
    return {
        row.id: load_waveform(resolve_audio(manifest, row), row.start_sec, row.duration_sec, channel=row.channel)[0]
        for row in read_manifest(manifest)
    }


def test_an_empty_file_was_left_out_without_a_word(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "stories.jsonl").write_text("")
    export(folder)
    assert "left out: stories.jsonl: holds no line" in capsys.readouterr().out


def test_audio_of_an_aligned_corpus_was_written_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its manifest.jsonl has all utterances, and those for training and for tests stand in files of their own too."""
    everything = list(read_manifest(folder / "train.jsonl"))
    (folder / "asr_test.jsonl").unlink()
    (folder / "train.jsonl").unlink()
    write_manifest(everything, folder / "manifest.jsonl")
    write_manifest(everything[:3], folder / "story_train.jsonl")
    write_manifest(everything[3:], folder / "story_test.jsonl")
    output = export(folder)
    assert {path.name[:-14] for path in (output / "data" / "utterances").iterdir()} == {"story_train", "story_test"}
    assert "left out: manifest.jsonl: every utterance of it is in story_test.jsonl, story_train.jsonl" in (
        capsys.readouterr().out
    )
    write_manifest(everything[4:], folder / "story_test.jsonl")  # one is in the manifest alone
    output = export(folder, output="again")
    parts = {path.name[:-14] for path in (output / "data" / "utterances").iterdir()}
    assert parts == {"train", "story_train", "story_test"}


def test_datasets_opens_it_with_an_audio_feature(folder: Path, tmp_path: Path) -> None:
    output = export(folder)
    rows = datasets.load_dataset(str(output), "utterances", split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(rows.features["audio"], datasets.Audio)
    rows = opened(output, "utterances", "train", tmp_path / "cache")
    assert rows["id"] == ["de-0", "de-1", "de-2", "zh-3", "de-4"] and rows["language"][3] == "zh-TW"
    assert rows[1]["audio"]["bytes"] == (folder / "audio" / "b.flac").read_bytes()
    assert rows[1]["audio"]["path"] == "de-1.flac" and rows[1]["words"][1] == {
        "word": "Wald",
        "start_sec": 0.2,
        "end_sec": 0.7,
    }
    assert soundfile.info(io.BytesIO(rows[2]["audio"]["bytes"])).duration == 1.0
    assert len(opened(output, "utterances", "asr_test", tmp_path / "cache")) == 1
    first, second = opened(output, "chains", "train", tmp_path / "cache")
    assert {key: first[key] for key in CHAIN} == CHAIN and first["facts"] is None and second["facts"] == ["Wald"]


def test_the_example_of_the_card_finds_the_recording_of_a_document(folder: Path, monkeypatch: Any) -> None:
    output = export(folder, name="me/tales")
    (example,) = re.findall(r"```python\n(.*?)```", (output / "README.md").read_text("utf-8"), re.DOTALL)
    real = datasets.load_dataset

    def load(name: str, *given: Any, **options: Any) -> Any:
        assert name == "me/tales"
        rows = real(str(output), *given, **options, cache_dir=str(folder.parent / "cache"))
        return rows.cast_column("audio", datasets.Audio(decode=False)) if "audio" in rows.column_names else rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    scope: dict[str, Any] = {}
    exec(example, scope)
    assert scope["question"]["bytes"] == (folder / "audio" / "a.wav").read_bytes()


def test_it_comes_back_as_the_same_utterances(folder: Path, tmp_path: Path) -> None:
    output = export(folder)
    card = (output / "README.md").read_text("utf-8")
    command = card.split("```bash\ncslm prepare-corpus hugging_face OUT ")[1].split("```")[0].replace("\\\n", " ")
    options = command.replace("--dataset set", f"--dataset {output}").split()
    prepare_corpus("hugging_face", tmp_path / "back", options)
    before, after = (list(read_manifest(place / name)) for place, name in
                     ((folder, "train.jsonl"), (tmp_path / "back", "manifest.jsonl")))  # fmt: skip
    kept = ("id", "text", "language", "speaker", "group", "document", "place", "words", "duration_sec")
    assert [[getattr(row, name) for name in kept] for row in after] == [
        [getattr(row, name) for name in kept] for row in before
    ]
    samples, again = heard(folder / "train.jsonl"), heard(tmp_path / "back" / "manifest.jsonl")
    for name in samples:
        np.testing.assert_allclose(again[name], samples[name], atol=2**-15)  # a stretch is cut in 16 bits
    np.testing.assert_array_equal(again["de-1"], samples["de-1"])


def test_the_same_corpus_gives_the_same_bytes(folder: Path) -> None:
    first = export(folder, name="me/set")
    second = export(folder, name="me/set", output="again")
    assert contents(first) == contents(second)


def test_small_shards_hold_the_same_rows(folder: Path, tmp_path: Path) -> None:
    loud = [Utterance(f"n{i}", "noise.wav", f"noise {i}", "en") for i in range(40)]
    save_waveform(folder / "noise.wav", glide(5, 20.0), RATE_HZ)
    write_manifest(loud, folder / "train.jsonl")
    output = export(folder, shard_mb=16)
    assert len(list((output / "data" / "utterances").glob("train-*.parquet"))) == 2
    assert opened(output, "utterances", "train", tmp_path / "cache")["id"] == [row.id for row in loud]


def test_the_card_says_what_is_in_it_and_nothing_of_this_machine(folder: Path) -> None:
    output = export(folder, name="me/tales", license="cc-by-4.0")
    card = (output / "README.md").read_text("utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert (
        front["language"] == ["de", "zh"] and front["license"] == "cc-by-4.0" and front["size_categories"] == ["n<1K"]
    )
    assert [found["config_name"] for found in front["configs"]] == ["utterances", "chains"]
    assert (
        "| train | de | 4 | 0.001 | 1 |" in card and "| de | 1 | ida (3) |" in card and "| zh-TW | 1 | li (1) |" in card
    )
    assert (
        "| `pairs` | `alpaca.json` |" in card
        and "| `url` | `an address` |" in card
        and "| `speech.rate_wpm` | `160` |" in card
    )
    assert (
        "| translation, de | translator table, sha256 12ab |" in card
        and "| speech, de | 3 voices |" in card
        and "| code | 2 |" in card
        and "| `chains` | 2 | id, question," in card
    )
    for path in output.rglob("*"):
        assert path.is_dir() or str(folder.parent).encode() not in path.read_bytes(), path


def test_what_is_no_corpus_is_refused_and_nothing_is_left(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        export(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no manifest"):
        export(tmp_path / "empty")
    with pytest.raises(UserError, match="shard_mb is 0"):
        export(folder, shard_mb=0)
    (folder / "audio" / "b.flac").unlink()
    with pytest.raises(UserError, match="the audio of de-1 cannot be read"):
        export(folder)
    assert not (tmp_path / "set").exists() and not list(tmp_path.glob(".set*"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        export(folder)


def test_documents_that_no_table_holds_are_named(folder: Path) -> None:
    write_json_lines([{"id": "a", "kind": 1}, {"id": "b", "kind": "two"}], folder / "chains.jsonl")
    with pytest.raises(UserError, match=r"chains\.jsonl: kind is not of one type"):
        export(folder)
    write_json_lines([{"id": "a", "facts": {}}], folder / "chains.jsonl")
    with pytest.raises(UserError, match=r"chains\.jsonl: a field holds an object without keys"):
        export(folder)


def test_a_data_set_is_sent_private_and_whole(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    main([str(folder), str(folder.parent / "set")])
    assert "cslm push-to-hub" in capsys.readouterr().out
    calls: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def create_repo(self, *_: Any, **options: Any) -> None:
            calls.append(("create_repo", options))

        def upload_folder(self, **options: Any) -> None:
            calls.append(("upload_folder", options))

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "get_token", lambda: "a token")
    files = push_to_hub(PushToHubConfig(str(folder.parent / "set"), "me/tales"))
    assert files == [
        "README.md",
        "data/chains/train-00000.parquet",
        "data/utterances/asr_test-00000.parquet",
        "data/utterances/train-00000.parquet",
    ]
    assert calls[0] == ("create_repo", {"private": True, "exist_ok": True, "repo_type": "dataset"})
    assert calls[1][1]["repo_type"] == "dataset" and calls[1][1]["allow_patterns"] == files
    assert calls[1][1]["delete_patterns"] == ["data/*"]
    with pytest.raises(UserError, match="license is for the card of a model"):
        push_to_hub(PushToHubConfig(str(folder.parent / "set"), "me/tales", license="mit"))


def test_rows_that_are_no_stories_are_rejected_on_the_way_back(folder: Path, tmp_path: Path) -> None:
    output = export(folder)
    options = ["--dataset", str(output), "--subset", "utterances", "--split", "train", "--language_column", "language"]
    with pytest.raises(UserError, match="its text is 'Wo wohnt Anna"):
        prepare_corpus("hugging_face", tmp_path / "back", [*options, "--place_column", "text"])
    with pytest.raises(UserError, match="no column 'tale'"):
        prepare_corpus("hugging_face", tmp_path / "back", [*options, "--document_column", "tale"])
    prepare_corpus(
        "hugging_face", tmp_path / "back", [*options, "--max_rejected_share", "1", "--words_column", "words"]
    )
    rows = [json.loads(line) for line in (tmp_path / "back" / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert [row.get("words") for row in rows] == [None, [["Im", 0.0, 0.2], ["Wald", 0.2, 0.7]], None, None, None]
