"""From written pairs to spoken chains: what is kept is heard, what is left out is listed, a kill changes no byte."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cslm.audio.waveform import load_waveform
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.evaluation.answered_dialogues import read_test_dialogues
from cslm.files.json_lines import write_json_lines
from cslm.synthesis import instructions
from cslm.synthesis.listeners import LISTENERS
from cslm.synthesis.prepare_corpus import prepare_corpus
from cslm.synthesis.synthesizers import SYNTHESIZERS
from tests.worlds.chat_server import Say, Status, chat_server
from tests.worlds.small_corpus import contents
from tests.worlds.small_instructions import BAD_KINDS, texts, write_known, write_rows, write_table

pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pairs and a table of translations; a listener that knows recordings; small blocks."""
    write_rows(tmp_path / "pairs.json")
    write_table(tmp_path / "table.tsv")
    monkeypatch.setitem(LISTENERS, "asr", "tests.worlds.small_instructions:KnowingListener")
    monkeypatch.setattr(instructions, "_BLOCK", 4)
    return tmp_path


def options(world: Path, **given: Any) -> list[str]:
    """The command line, with German and Japanese spoken by three voices."""
    told = {
        "pairs.dataset": world / "pairs.json",
        "translator.table.path": world / "table.tsv",
        "synthesizer.espeak.variants": "[f1, m1, m3]",
        "languages": "[de, ja]",
        **given,
    }
    return [part for key, value in told.items() for part in (f"--{key}", str(value))]


def prepare(world: Path, output: str = "out", **given: Any) -> Path:
    """The corpus."""
    prepare_corpus("spoken_instructions", world / output, options(world, **given))
    return world / output


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_question_is_spoken_and_is_a_chain_of_four_texts(world: Path, capsys: Any) -> None:
    corpus = prepare(world)
    rows, chains = list(read_manifest(corpus / "manifest.jsonl")), records(corpus / "chains.jsonl")
    assert [row.id for row in rows] == [chain["question"] for chain in chains] and len(rows) == 48
    assert {row.speaker for row in rows} == {"f1", "m1", "m3"} and {row.language for row in rows} == {"de", "ja"}
    (question, answer) = texts()[1]
    assert next(chain for chain in chains if chain["id"] == "ja-000001-0") == {
        "id": "ja-000001-0", "question": "ja-000001-0", "question_language": "ja", "question_text": question[2],
        "core_language": "en", "core_question": question[0], "core_answer": answer[0], "answer_language": "ja",
        "answer_text": answer[2],
    }  # fmt: skip
    waveform, rate_hz = load_waveform(resolve_audio(corpus / "manifest.jsonl", rows[0]))
    assert rows[0].duration_sec == pytest.approx(len(waveform) / rate_hz) and np.abs(waveform).max() > 0.1
    told = capsys.readouterr().out
    assert "no listener: every recording is kept" in told
    assert "31 rows, 24 pairs that can be spoken; left out: address 1, code 1, doubled 1" in told
    assert "de: 24 chains, 24 recordings" in told


def test_what_is_left_out_is_listed_with_its_reason(world: Path) -> None:
    (world / "table.tsv").write_text(
        (world / "table.tsv").read_text("utf-8").replace("Ich denke, der Apfel", "Ja"), "utf-8"
    )
    lines = (world / "table.tsv").read_text("utf-8").splitlines()
    (world / "table.tsv").write_text("\n".join(line for line in lines if "the sky looks" not in line), "utf-8")
    corpus = prepare(world, **{"filters.spare_letters": 1})
    rejected = records(corpus / "rejected.jsonl")
    assert [row["kind"] for row in rejected[: len(BAD_KINDS)]] == BAD_KINDS
    of_translation = {row["id"]: row["reason"] for row in rejected[len(BAD_KINDS) :]}
    assert of_translation["de-000000"] == "the answer: its translation has 8 letters, the text 23"
    assert "the question: stands not in the table" in of_translation["de-000009"] == of_translation["ja-000009"]
    card = json.loads((corpus / "card.json").read_text("utf-8"))
    assert card["counts"]["left_out"]["translation, de"] == len([name for name in of_translation if name[:2] == "de"])
    kept = {row.id[:9] for row in read_manifest(corpus / "manifest.jsonl")}
    pairs = {f"{language}-{number:06d}" for language in ("de", "ja") for number in range(24)}
    assert kept | set(of_translation) == pairs and not kept & set(of_translation)


def test_recordings_are_kept_where_they_are_heard(world: Path) -> None:
    everything = prepare(world, "all")
    first = next(row for row in read_manifest(everything / "manifest.jsonl") if row.id == "ja-000003-0")
    heard = {
        "de-000000-0": "welche farbe hat der affe",  # one word of five
        "de-000001-0": "WELCHE FARBE, HAT DER HIMMEL",  # the same to a listener
        "ja-000003-0": first.text[:-3] + "。",  # two of its ten characters
        "ja-000004-0": "",
    }
    known = write_known(everything / "manifest.jsonl", world / "known.json", heard)
    corpus = prepare(world, **{"listener.asr.model": known, "max_error_rate": 0.1})
    gone = {row["id"]: row["reason"] for row in records(corpus / "rejected.jsonl") if "hearing" in row["kind"]}
    assert set(gone) == {"de-000000-0", "ja-000003-0", "ja-000004-0"}
    assert "its error rate is 0.20, at most 0.1 is allowed: heard 'welche farbe hat der affe'" in gone["de-000000-0"]
    assert gone["ja-000004-0"] == "was never heard before"
    kept = {row.id for row in read_manifest(corpus / "manifest.jsonl")}
    assert len(kept) == 45 and not kept & set(gone)
    files = {row.audio for row in read_manifest(corpus / "manifest.jsonl")}
    assert {path.relative_to(corpus).as_posix() for path in corpus.rglob("*.wav")} == files
    assert {chain["question"] for chain in records(corpus / "chains.jsonl")} == kept
    rates = {row["id"]: row["error_rate"] for row in records(corpus / "heard.jsonl")}
    assert rates["de-000000-0"] == 0.2 and rates["de-000001-0"] == 0.0 and len(rates) == 47


def test_many_voices_ask_and_one_answers(world: Path) -> None:
    corpus = prepare(
        world, renderings=2, speak_answers="true", answer_voices="{de: m3}", voices="{de: [f1, m1]}", num_test=4
    )
    rows = {row.id: row for row in read_manifest(corpus / "manifest.jsonl")}
    tests = {row.id: row for row in read_manifest(corpus / "test.jsonl")}
    assert {row.speaker for name, row in rows.items() if name.startswith("de") and name.endswith("answer")} == {"m3"}
    for number in range(24):
        name = f"de-{number:06d}"
        if f"{name}-0" in rows:
            assert {rows[f"{name}-0"].speaker, rows[f"{name}-1"].speaker} == {"f1", "m1"}
    chains, dialogues = records(corpus / "chains.jsonl"), records(corpus / "test_dialogues.jsonl")
    assert len(chains) == 2 * 2 * 20 and len(dialogues) == 2 * 2 * 4
    assert all(chain["answer"] in rows and rows[chain["answer"]].text == chain["answer_text"] for chain in chains)
    assert all(row["question"] in tests and row["answer_reference"] == row["answer_text"] for row in dialogues)
    assert {row["direction"] for row in dialogues} == {"de-de", "ja-ja"}
    asked = {chain["core_question"] for chain in chains}
    assert not asked & {row["core_question"] for row in dialogues}  # a test is one in every language


def test_the_score_of_dialogues_reads_the_test(world: Path) -> None:
    corpus = prepare(world, languages="[de]", num_test=3)
    items = [(row, corpus / row.audio) for row in read_manifest(corpus / "test.jsonl")]
    config = SimpleNamespace(max_items=None)
    scored: Any = SimpleNamespace(utterances=lambda _: items, path=lambda name: corpus / name, config=config)
    dialogues, clips = read_test_dialogues(scored, "test.jsonl", "test_dialogues.jsonl")
    assert len(dialogues) == len(clips) == 3 and all(len(clip[0]) > 1000 for clip in clips.values())
    lines = records(corpus / "test_dialogues.jsonl")
    write_json_lines([{**lines[0], "fact": ["rot"]}], corpus / "half.jsonl")
    with pytest.raises(UserError, match="misses the field 'wrong_facts'"):
        read_test_dialogues(scored, "test.jsonl", "half.jsonl")


def test_the_answer_that_is_not_heard_takes_its_chain_with_it(world: Path) -> None:
    everything = prepare(world, "all", languages="[de]", speak_answers="true")
    misheard = {f"de-{number:06d}-answer": "etwas anderes" for number in (2, 10, 18)}  # one text, one voice
    known = write_known(everything / "manifest.jsonl", world / "known.json", misheard)
    corpus = prepare(world, languages="[de]", speak_answers="true", **{"listener.asr.model": known})
    gone = [row for row in records(corpus / "rejected.jsonl") if row["kind"] == "answer, de"]
    assert [row["id"] for row in gone] == [f"de-{number:06d}-0-chain" for number in (2, 10, 18)]
    assert {row["reason"] for row in gone} == {"its answer was not kept"}
    assert len(records(corpus / "chains.jsonl")) == 21


def test_a_further_language_changes_nothing_of_the_others(world: Path) -> None:
    one, two = prepare(world, "one", languages="[ja]"), prepare(world, "two", languages="[de, ja]")
    assert contents(one / "audio").items() <= contents(two / "audio").items()
    japanese = [chain for chain in records(two / "chains.jsonl") if chain["question_language"] == "ja"]
    assert japanese == records(one / "chains.jsonl")


def test_killed_ten_times_the_bytes_are_those_of_one_run(world: Path, capfd: Any) -> None:
    told = options(world, renderings=2)
    whole = prepare(world, "whole", renderings=2)
    partial, context = world / ".out.partial", multiprocessing.get_context("fork")
    for _ in range(10):
        before = set(partial.rglob("*.wav"))
        process = context.Process(target=prepare_corpus, args=("spoken_instructions", world / "out", told))
        process.start()
        deadline = time.monotonic() + 120
        while len(set(partial.rglob("*.wav")) - before) < 3 and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -9 and not (world / "out").exists()
    assert len(list(partial.rglob("*.wav"))) > 10  # what was said is not said again
    prepare(world, renderings=2)
    assert contents(world / "out") == contents(whole)
    assert not partial.exists()


def test_a_table_that_has_changed_since_is_asked_again(world: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(instructions, "_write", _stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(world)
    lines = (world / "table.tsv").read_text("utf-8").replace("rot.", "ganz rot.")
    (world / "table.tsv").write_text(lines, "utf-8")
    corpus = prepare(world)
    (chain,) = [chain for chain in records(corpus / "chains.jsonl") if chain["id"] == "de-000000-0"]
    assert chain["answer_text"] == "Ich denke, der Apfel ist ganz rot."


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("layout", ["jsonl", "parquet", "messages", "folder"])
def test_pairs_come_in_several_layouts(world: Path, layout: str) -> None:
    rows = json.loads((world / "pairs.json").read_text("utf-8"))
    wanted = records(prepare(world, "wanted", languages="[de]") / "chains.jsonl")
    if layout == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = world / "pairs.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path = world / "set" / "pairs.jsonl"
        path.parent.mkdir()
        if layout == "messages":
            said = [("user", "instruction"), ("assistant", "output")]
            rows = [{"messages": [{"role": role, "content": row[key]} for role, key in said]} for row in rows[:24]]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    corpus = prepare(world, languages="[de]", **{"pairs.dataset": path.parent if layout == "folder" else path})
    assert records(corpus / "chains.jsonl") == wanted


def test_what_cannot_be_done_is_refused_before_anything_is_made(world: Path) -> None:
    for given, says in (
        ({"languages": "[de, en]"}, "languages is de, en: name each once, and not the core language"),
        ({"languages": "[fr]"}, "has no pairs from en into fr"),
        ({"voices": "{fr: [f1]}"}, "voices: fr is none of the languages"),
        ({"voices": "{de: [nobody]}"}, "no voice 'nobody' for de"),
        ({"answer_voices": "{de: f1}"}, "no answer is spoken"),
        ({"num_test": 24}, "24 pairs can be spoken: leave some for training"),
        ({"renderings": 0}, "renderings is 0"),
        ({"renderings": 4}, "renderings is 4, but de has 3 voices"),
        ({"filters.most_times_longer": 0.5}, "filters.most_times_longer is 0.5"),
        ({"cleaning.leave_out": "[poems]"}, "no rule 'poems'"),
        ({"cleaning.question_words": "[9, 3]"}, "the fewest come first"),
        ({"pairs.dataset": world / "none.json"}, "no such file"),
        ({"pairs.instruction_column": "question"}, "neither question and output nor messages"),
        ({"colour": "red"}, "colour"),
    ):
        with pytest.raises(UserError, match=says):
            prepare(world, **given)
    assert not (world / "out").exists() and not list(world.rglob("*.wav"))
    assert "espeak" in SYNTHESIZERS


def test_not_one_chain_is_an_error_that_says_why(world: Path) -> None:
    with pytest.raises(
        UserError, match="not one of 31 rows became a spoken chain; the first: too few words in the question"
    ):
        prepare(world, **{"cleaning.question_words": "[50, 60]"})


def test_a_real_ear_leaves_out_what_it_does_not_understand(world: Path) -> None:
    """German pairs, asked in English: PocketSphinx hears English alone, and has never heard of meadows."""
    pytest.importorskip("pocketsphinx", reason="the extra ear is not installed")
    rows = [{"instruction": question[1], "input": "", "output": answer[1]} for question, answer in texts()[:8]]
    (world / "pairs.json").write_text(json.dumps(rows), "utf-8")
    told = [question[0] for question, _ in texts() if "meadow" not in question[0]]
    (world / "told.jsonl").write_text("".join(json.dumps({"text": text, "language": "en"}) + "\n" for text in told))
    settings = {"listener.pocketsphinx.sentences": f"[{world / 'told.jsonl'}]", "listener.pocketsphinx.num_workers": 1}
    corpus = prepare(world, languages="[en]", core_language="de", **settings)
    kept = {row.text for row in read_manifest(corpus / "manifest.jsonl")}
    rejected = records(corpus / "rejected.jsonl")
    assert "What colour is the meadow?" not in kept and len(kept) >= 4
    assert len(rejected) == 8 - len(kept) and all("at most 0.1 is allowed" in row["reason"] for row in rejected)
    chain = records(corpus / "chains.jsonl")[0]
    assert chain["core_language"] == "de" and chain["core_question"] == "Welche Farbe hat der Apfel?"


def test_a_chat_model_translates_and_what_it_refuses_is_left_out(world: Path, cache: Path) -> None:
    pytest.importorskip("openai", reason="the extra endpoint is not installed")
    known = {said[0]: said[1] for pair in texts() for said in pair}

    def script(body: dict[str, Any], before: int) -> Any:
        text = body["messages"][0]["content"].strip().splitlines()[-1]
        return Status(400) if "the fox looks" in text else Say(json.dumps({"translation": known[text]}))

    with chat_server(script) as server:
        endpoint = {"translator.chat.model": "chat", "translator.chat.endpoint.base_url": server.base_url}
        told = [part for part in options(world, languages="[de]", **endpoint) if "table" not in part]
        prepare_corpus("spoken_instructions", world / "out", told)
        num_asked = len(server.bodies)
        prepare_corpus("spoken_instructions", world / "again", told)
        assert len(server.bodies) == num_asked + 1  # only what failed is asked again
    (gone,) = [row for row in records(world / "out" / "rejected.jsonl") if row["kind"] == "translation, de"]
    assert gone["id"] == "de-000014" and "the question: no translation: refused" in gone["reason"]
    assert len(records(world / "out" / "chains.jsonl")) == 23
    assert server.base_url not in (world / "out" / "card.json").read_text("utf-8")
    assert contents(world / "out" / "audio") == contents(world / "again" / "audio")
