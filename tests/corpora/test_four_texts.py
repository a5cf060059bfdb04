"""A list of recordings with four texts each, beside an archive: whatever its keys, whatever its paths once were."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import soundfile

from cslm.audio.waveform import load_waveform
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus
from tests.worlds.small_corpus import contents, glide

RATE_HZ = 16000
ROWS = [
    ("/home/lab/de/0/0001.wav", "Wo wohnt Anna?", "Where does Anna live?", "In the forest.", "Im Wald."),
    ("/home/lab/de/1/0001.wav", "Was isst sie?", "What does she eat?", "Bread.", "Brot."),
    ("/home/lab/de/1/0002.wav", "Wer ist da?", "Who is there?", "Nobody.", "Niemand."),
]
KEYS = ("wav", "instruction_de", "instruction_en", "response_en", "response_de")
LENGTHS_SEC = {"de/0/0001.wav": 0.5, "de/1/0001.wav": 0.6, "de/1/0002.wav": 0.7}


def lines_of(rows: list[tuple[str, ...]], keys: tuple[str, ...] = KEYS) -> str:
    """The list as JSON Lines."""
    return "".join(json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


def wav(seconds: float) -> bytes:
    """A recording."""
    content = io.BytesIO()
    soundfile.write(content, glide(0, seconds), RATE_HZ, format="WAV")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A list and its archive, as they are published; another file in it."""
    write_archive(tmp_path / "de.tar.gz", "w:gz")
    (tmp_path / "de.list").write_text(lines_of(ROWS), "utf-8")
    return tmp_path


def write_archive(path: Path, mode: Any, more: dict[str, bytes] | None = None) -> None:
    """The recordings as a tar file."""
    with tarfile.open(path, mode) as archive:
        members = {name: wav(seconds) for name, seconds in LENGTHS_SEC.items()}
        for name, content in {**members, "de/notes.txt": b"hello", "de/9/0009.wav": wav(0.2), **(more or {})}.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def prepare(folder: Path, output: str = "out", **options: Any) -> Path:
    """The corpus that is made of the list."""
    given = {"list_file": folder / "de.list", "language": "de", **options}
    arguments = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    prepare_corpus("four_texts", folder / output, arguments)
    return folder / output


def seconds(corpus: Path) -> dict[str, float]:
    """How long each recording is, by its text."""
    found = {}
    for row in read_manifest(corpus / "manifest.jsonl"):
        waveform, rate_hz = load_waveform(resolve_audio(corpus / "manifest.jsonl", row))
        found[row.text] = len(waveform) / rate_hz
    return found


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


WANTED = {"Wo wohnt Anna?": 0.5, "Was isst sie?": 0.6, "Wer ist da?": 0.7}


def test_each_line_becomes_a_spoken_question_and_a_chain_of_four_texts(folder: Path) -> None:
    corpus = prepare(folder)
    assert seconds(corpus) == WANTED  # two files are called 0001.wav: their folders tell them apart
    assert records(corpus / "chains.jsonl")[0] == {
        "id": "de-000001",
        "question": "de-000001",
        "question_language": "de",
        "question_text": "Wo wohnt Anna?",
        "core_language": "en",
        "core_question": "Where does Anna live?",
        "core_answer": "In the forest.",
        "answer_language": "de",
        "answer_text": "Im Wald.",
    }
    assert [row["question"] for row in records(corpus / "chains.jsonl")] == [
        row.id for row in read_manifest(corpus / "manifest.jsonl")
    ]
    assert sum(path.suffix == ".wav" for path in corpus.rglob("*")) == 3  # what no line names is not unpacked


def test_the_same_archive_gives_the_same_bytes(folder: Path) -> None:
    first, second = contents(prepare(folder)), contents(prepare(folder, "again"))
    assert first == second


@pytest.mark.parametrize("kind", ["de.tar", "de.tar.bz2", "de"])
def test_the_recordings_may_lie_in_a_folder_or_another_archive(folder: Path, kind: str) -> None:
    with tarfile.open(folder / "de.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "de.tar.gz").unlink()
    if kind == "de.tar":
        write_archive(folder / kind, "w")
    elif kind == "de.tar.bz2":
        write_archive(folder / kind, "w:bz2")
    corpus = prepare(folder, audio=folder / kind)
    assert seconds(corpus) == WANTED
    assert any(path.suffix == ".wav" for path in corpus.rglob("*")) is (kind == "de.tar.bz2")


@pytest.mark.parametrize("header", [True, False])
def test_a_table_is_a_list_too(folder: Path, header: bool) -> None:
    rows = [*([KEYS] if header else []), *ROWS]
    (folder / "de.list").write_text("\n".join("\t".join(row) for row in rows) + "\n", "utf-8")
    options = {} if header else {"columns": f"[{', '.join(KEYS)}]"}
    assert seconds(prepare(folder, **options)) == WANTED


def test_keys_that_nobody_knows_are_named_by_who_does(folder: Path) -> None:
    keys = ("sound", "q", "extra", "a.en", "a_de")
    rows = [dict(zip(keys, row, strict=True)) for row in ROWS]
    told = [{**row, "extra": {"q_en": row["extra"]}, "who": 7, "nr": f"n{index}"} for index, row in enumerate(rows)]
    (folder / "de.list").write_text("".join(json.dumps(row) + "\n" for row in told), "utf-8")
    with pytest.raises(
        UserError, match=r"no line has audio or wav .* for audio; keys there are sound, q, extra.*--keys.audio"
    ):
        prepare(folder)
    named = {"audio": "sound", "question_text": "q", "core_question": "extra.q_en", "core_answer": "a.en"}
    named |= {"answer_text": "a_de", "speaker": "who", "id": "nr"}
    corpus = prepare(folder, keys=json.dumps(named))
    assert seconds(corpus) == WANTED
    assert [(row.id, row.speaker) for row in read_manifest(corpus / "manifest.jsonl")] == [
        ("n0", "7"), ("n1", "7"), ("n2", "7"),
    ]  # fmt: skip
    assert records(corpus / "chains.jsonl")[1]["core_question"] == "What does she eat?"


def test_a_bad_line_is_one_rejection_with_its_number(folder: Path) -> None:
    good = lines_of(ROWS)
    bad = [
        '{"wav": ',
        "[1]",
        lines_of([("x/0003.wav", *ROWS[0][1:])]),
        lines_of([("de/0/0001.wav", "", "a", "b", "c")]),
    ]
    bad += [json.dumps({**dict(zip(KEYS, ROWS[0], strict=True)), "response_en": ["In"]}), json.dumps({"wav": 3})]
    (folder / "de.list").write_text(good + "\n".join(line.strip() for line in bad) + "\n", "utf-8")
    with pytest.raises(UserError, match="6 were left out"):
        prepare(folder)
    reasons = [row["reason"] for row in records(folder / "out" / "rejected.jsonl")]
    for reason, says in zip(
        reasons,
        (
            "line 4: is not JSON",
            "line 5: is list",
            "0003.wav is not in",
            "instruction_de is empty",
            '"In"',
            "names no rec",
        ),
        strict=True,
    ):
        assert says in reason
    assert len(records(folder / "out" / "chains.jsonl")) == 3


def test_a_recording_of_two_places_is_not_guessed(folder: Path) -> None:
    (folder / "de.list").write_text(lines_of([("0001.wav", *ROWS[0][1:]), *ROWS[1:]]), "utf-8")
    prepare(folder, max_rejected_share=1)
    (row,) = records(folder / "out" / "rejected.jsonl")
    assert "may be de/0/0001.wav or de/1/0001.wav" in row["reason"]


def test_a_path_of_the_folder_is_that_file_though_a_deeper_folder_has_its_name_too(folder: Path) -> None:
    for name in ("hello.wav", "more/hello.wav"):
        (folder / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "audio" / name).write_bytes(wav(0.5 if name == "hello.wav" else 0.9))
    (folder / "de.list").write_text(
        lines_of([("hello.wav", *ROWS[0][1:]), ("./more/hello.wav", *ROWS[1][1:])]), "utf-8"
    )
    assert seconds(prepare(folder, audio=folder / "audio")) == {"Wo wohnt Anna?": 0.5, "Was isst sie?": 0.9}


def test_questions_are_kept_for_tests_the_same_in_every_language(folder: Path) -> None:
    rows = [("de/1/0002.wav", f"Frage {n}?", f"Question {n}?", "Yes.", "Ja.") for n in range(40)]
    french = [(*row[:1], f"Question {n} ?", *row[2:4], "Oui.") for n, row in enumerate(rows) if n % 3]
    held_out, trained = {}, {}
    for language, told in {"de": rows, "fr": french}.items():
        keys = tuple(key.replace("_de", f"_{language}") for key in KEYS)
        (folder / "x.list").write_text(lines_of(told, keys), "utf-8")
        options = {"list_file": folder / "x.list", "audio": folder / "de.tar.gz", "language": language}
        corpus = prepare(folder, language, **options, test_share=0.3)
        held_out[language] = {row["core_question"] for row in records(corpus / "test_dialogues.jsonl")}
        trained[language] = {row["core_question"] for row in records(corpus / "chains.jsonl")}
        tests = records(corpus / "test_dialogues.jsonl")
        assert [row["question"] for row in tests] == [row.id for row in read_manifest(corpus / "test.jsonl")]
        assert {row["direction"] for row in tests} == {f"{language}-{language}"}
        assert all(row["answer_reference"] == row["answer_text"] for row in tests)
        assert len(held_out[language]) + len(trained[language]) == len(told)
    assert held_out["fr"] == held_out["de"] & {row[2] for row in french} and held_out["fr"]
    assert not held_out["de"] & trained["fr"]
    with pytest.raises(UserError, match=r"keeps 0 of 3 questions for tests.*another --test_share"):
        prepare(folder, "few", test_share=0.001)


def test_what_is_not_there_is_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match=r"fr\.list: no such list"):
        prepare(folder, list_file=folder / "fr.list")
    with pytest.raises(UserError, match="answer: there is no such field"):
        prepare(folder, keys="{answer: a}")
    (folder / "de.list").write_text("[" + lines_of(ROWS).replace("\n", ",") + "]", "utf-8")
    with pytest.raises(UserError, match="is one JSON array"):
        prepare(folder)
    (folder / "de.list").write_text(lines_of(ROWS), "utf-8")
    (folder / "de.tar.gz").write_bytes((folder / "de.tar.gz").read_bytes()[:2000])
    with pytest.raises(UserError, match="cannot be read as a tar archive"):
        prepare(folder)
    (folder / "de.tar.gz").unlink()
    with pytest.raises(UserError, match="no such recordings"):
        prepare(folder)
    assert not (folder / "out").exists()
