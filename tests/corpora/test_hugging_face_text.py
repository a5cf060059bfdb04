"""Texts of a data set as shards: what becomes a document, what the header says, and a kill that changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from cslm.corpora import hugging_face_text, text_documents
from cslm.corpora.text_documents import as_document
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus

ROOT = Path(__file__).resolve().parents[2]
NUM_ROWS = 1000
ENGLISH = ["--values.language", "en"]


def rows() -> list[dict[str, Any]]:
    """A thousand texts; every tenth is empty, every twenty-fifth is missing."""
    texts = [f"sentence {number} " + "la" * (number % 13) for number in range(NUM_ROWS)]
    return [
        {"content": None if number % 25 == 3 else "" if number % 10 == 0 else text, "stars": number}
        for number, text in enumerate(texts)
    ]


@pytest.fixture(params=["parquet", "jsonl", "disk"])
def data_set(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The rows as the Hub has them: three files of a split, or one of ``save_to_disk``."""
    made = datasets.Dataset.from_list(rows())
    if request.param == "disk":
        made.save_to_disk(tmp_path / "set")
        return str(tmp_path / "set")
    (tmp_path / "set").mkdir()
    for number in range(3):
        part = made.shard(3, number, contiguous=True)
        path = tmp_path / "set" / f"train-{number:05d}-of-00003.{request.param}"
        part.to_parquet(path, batch_size=64) if request.param == "parquet" else part.to_json(path)
    return str(tmp_path / "set")


def prepare(output: Path, data_set: str, *options: str) -> bool:
    given = ["--dataset", data_set, "--columns.text", "content", *ENGLISH, *options]
    return prepare_corpus("hugging_face_text", output, given)


def documents_in(folder: Path) -> list[dict[str, Any]]:
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    return [json.loads(line) for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_row_is_a_document_or_counted(data_set, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hugging_face_text, "BYTES_OF_A_MB", 10_000)
    assert prepare(tmp_path / "out", data_set, "--shard_mb", "1")
    header = json.loads((tmp_path / "out" / "header.json").read_text())
    wanted = [{"language": "en", "text": row["content"]} for row in rows() if row["content"]]
    assert documents_in(tmp_path / "out") == wanted and header["documents"] == len(wanted)
    assert header["rows"] == NUM_ROWS and header["dropped"] == {"text is empty": 100, "text is missing": 40}
    assert (header["dataset"], header["split"], header["revision"]) == ("set", "train", None)
    assert header["content"].startswith("sha256:")
    assert [shard["name"] for shard in header["shards"]] == [f"documents-{n:05d}.jsonl" for n in range(5)]
    for shard in header["shards"]:
        content = (tmp_path / "out" / shard["name"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(content).hexdigest() and shard["bytes"] == len(content) < 10_200
        assert shard["documents"] == content.count(b"\n")
    assert set(contents(tmp_path / "out")) == {"config.yaml", "header.json", *(s["name"] for s in header["shards"])}
    assert "dropped, text is missing: 40 of 1,000 rows" in capsys.readouterr().out
    assert not prepare(tmp_path / "out", data_set, "--shard_mb", "1")


KILLED = """
import os, sys
from cslm.corpora import hugging_face_text, text_documents
from cslm.synthesis.prepare_corpus import main
hugging_face_text.BYTES_OF_A_MB = 10_000
write, calls = text_documents.write_json_lines, []
def killed(records, path):
    calls.append(path)
    if len(calls) == int(os.environ["KILL_AT"]):
        records = list(records)[:3]
        path.with_name(f".{path.name}.1.tmp").write_text("half")
        os.kill(os.getpid(), 9)
    return write(records, path)
text_documents.write_json_lines = killed
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("data_set", "kill_at"),
    [("parquet", 1), ("parquet", 4), ("parquet", 7), ("jsonl", 4), ("disk", 4)],
    indirect=["data_set"],
)
def test_killed_and_started_again_gives_the_same_bytes(data_set, tmp_path, monkeypatch, kill_at):
    """The first write is a shard, the second the progress, and so on: killed in a shard or between the two."""
    options = ["--shard_mb", "1", "--max_documents", "800"]
    arguments = ["--dataset", data_set, "--columns.text", "content", *ENGLISH, *options]
    environment = {**os.environ, "KILL_AT": str(kill_at), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, "hugging_face_text", str(tmp_path / "out"), *arguments]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == -9
    assert not (tmp_path / "out").exists() and (tmp_path / ".out.partial").is_dir()
    monkeypatch.setattr(hugging_face_text, "BYTES_OF_A_MB", 10_000)
    taken = []
    monkeypatch.setattr(
        hugging_face_text, "as_document", lambda task, values: taken.append(1) or as_document(task, values)
    )
    prepare(tmp_path / "out", data_set, *options)
    resumed = len(taken)
    prepare(tmp_path / "whole", data_set, *options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert len(documents_in(tmp_path / "out")) == 800
    assert resumed < len(taken) - resumed or kill_at == 1, "it went on behind the shards that were there"
    assert not (tmp_path / ".out.partial").exists()


def test_a_folder_that_changed_meanwhile_is_refused(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"content": "one"}\n{"content": "two"}\n')
    monkeypatch.setattr(hugging_face_text, "BYTES_OF_A_MB", 1)
    write, calls = text_documents.write_json_lines, []

    def full(records, path):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return write(records, path)

    monkeypatch.setattr(text_documents, "write_json_lines", full)
    with pytest.raises(OSError, match="No space"):
        prepare(tmp_path / "out", str(tmp_path / "set"))
    (tmp_path / "set" / "train.jsonl").write_text('{"content": "one"}\n{"content": "zwei"}\n')
    with pytest.raises(UserError, match=r"has changed since .*remove that folder"):
        prepare(tmp_path / "out", str(tmp_path / "set"))


def test_pairs_and_conversations(tmp_path):
    pairs = [{"translation": {"en": f"good day {n}", "fr": f"bonjour {n}"}} for n in range(3)]
    talks = [
        {"talk": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Anna."}], "lang": "en"},
        {"talk": [{"from": "human", "value": "Who?"}], "lang": "en"},
        {"talk": [{"from": "bot", "value": "Who?"}], "lang": "en"},
    ]
    for name, content in (("pairs", pairs), ("talks", talks)):
        (tmp_path / name).mkdir()
        datasets.Dataset.from_list(content).to_parquet(tmp_path / name / "train.parquet")
    options = ["--dataset", str(tmp_path / "pairs"), "--task", "translation"]
    options += ["--columns", '{"source": "translation.en", "target": "translation.fr"}']
    options += ["--values", '{"source_language": "en", "target_language": "fr"}']
    prepare_corpus("hugging_face_text", tmp_path / "mt", options)
    document = {"source_language": "en", "target_language": "fr", "source": "good day 0", "target": "bonjour 0"}
    assert documents_in(tmp_path / "mt")[0] == document
    options = ["--dataset", str(tmp_path / "talks"), "--task", "instruction"]
    prepare_corpus(
        "hugging_face_text", tmp_path / "it", [*options, "--columns", '{"messages": "talk", "language": "lang"}']
    )
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Anna."}]
    assert documents_in(tmp_path / "it") == [{"language": "en", "messages": messages}]
    dropped = json.loads((tmp_path / "it" / "header.json").read_text())["dropped"]
    known = "system, developer, user, human, assistant, gpt, tool"
    bot = f"a message of the role 'bot', which is none of {known}"
    assert dropped == {bot: 1, "no message of the assistant": 1}


@pytest.mark.parametrize(
    ("task", "values", "reason"),
    [
        ("text", {"language": "en", "text": 3}, "text is no text"),
        ("text", {"language": None, "text": "a"}, "language is missing"),
        ("text", {"language": "english", "text": "a"}, "language is no language tag"),
        ("instruction", {"language": "en", "messages": "hello"}, "messages is no list"),
        ("instruction", {"language": "en", "messages": ["hello"]}, "a message without role and content"),
        ("instruction", {"language": "en", "messages": [{"role": "assistant", "content": " "}]}, "an empty message"),
    ],
)
def test_why_a_row_is_no_document(task, values, reason):
    assert as_document(task, values) == reason


def test_the_commit_on_the_hub_is_pinned_and_noted(tmp_path, monkeypatch):
    asked = []
    stream = datasets.Dataset.from_list([{"text": "one"}]).to_iterable_dataset()
    monkeypatch.setattr(hugging_face_text, "open_data_set", lambda *told: asked.append(told) or stream)

    class FakeHub:
        def dataset_info(self, name, revision):
            return type("Info", (), {"sha": f"commit of {name} at {revision}"})

    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    options = ["--dataset", "people/texts", "--revision", "main", "--subset", "fr", *ENGLISH]
    prepare_corpus("hugging_face_text", tmp_path / "out", options)
    assert asked == [("people/texts", "fr", "train", "commit of people/texts at main")]
    assert json.loads((tmp_path / "out" / "header.json").read_text())["revision"] == asked[0][3]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dataset", "people/texts", *ENGLISH], "cannot be read from the Hub"),
        (["--dataset", "no such name!", *ENGLISH], "no name of a data set"),
        (["--dataset", "SET", *ENGLISH], r"no column 'text' for the field text \(it has words\)"),
        (["--dataset", "SET", *ENGLISH, "--split", "test"], "SET, split test: cannot be read"),
        (["--dataset", "SET", "--columns.text", "words"], "no language: give --values.language"),
        (["--dataset", "SET", "--task", "asr"], "choose one of text"),
        (["--dataset", "SET", *ENGLISH, "--columns.source", "words"], "columns: the task text has no field 'source'"),
        (["--dataset", "SET", *ENGLISH, "--columns.language", "words"], "in columns and in values"),
        (["--dataset", "SET", *ENGLISH, "--columns.text", "words"], "none of 1 rows became a document"),
    ],
)
def test_what_cannot_be_prepared_gets_one_line(tmp_path, options, says):
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list([{"words": ""}]).to_parquet(tmp_path / "set" / "train.parquet")
    given = [str(tmp_path / "set") if option == "SET" else option for option in options]
    with pytest.raises(UserError, match=says.replace("SET", str(tmp_path / "set"))):
        prepare_corpus("hugging_face_text", tmp_path / "out", given)
    assert not (tmp_path / "out").exists()
