from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cslm.audio.waveform import save_waveform
from cslm.benchmarks.broken_audio import BREAKAGES, FURTHER_BREAKAGES, LONGEST_SEC, write_broken_file
from cslm.codecs.families import load_codec
from cslm.codecs.units import expand_repeats, merge_repeats
from cslm.corpora.manifest import Utterance, read_manifest, write_manifest
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError, exit_with_status
from cslm.units import tokenize_shard
from cslm.units.shards import StoreHeader
from cslm.units.store import UnitStore
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, main, tokenize_corpus
from cslm.units.tokenizing_progress import TokenizingProgress
from tests.worlds.small_corpus import RATE_HZ, contents, fit_card, glide, write_corpus


def run(manifest: Path, card: Path, output: Path, **options: int) -> StoreHeader:
    options = {"utterances_per_shard": 5, "num_workers": 1, **options}
    return tokenize_corpus(TokenizeCorpusConfig([str(manifest)], str(card), str(output), **options))


@pytest.fixture(scope="session")
def whole(corpus: Path, card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole") / "store"
    run(corpus, card, output)
    return output


def test_every_utterance_is_there_with_its_units(corpus, card, whole):
    store, codec = UnitStore.open(whole), load_codec(card)
    utterances = list(read_manifest(corpus))
    assert store.fingerprint == codec.fingerprint
    assert store.column("id").tolist() == [utterance.id for utterance in utterances]
    for index in (0, 3, 22):
        row, utterance = store.row(index), utterances[index]
        assert (row.text, row.language, row.speaker, row.group) == (
            utterance.text,
            utterance.language,
            utterance.speaker,
            utterance.group,
        )
        assert row.words == utterance.words
        assert len(expand_repeats(row.units)) == round(row.duration_sec * 100 + 1e-9)
    waveform, _ = soundfile.read(corpus.parent / "audio" / "001.wav", dtype="float32")
    alone = merge_repeats(codec.encode([waveform])[0])
    assert np.array_equal(store.row(1).units.ids, alone.ids)
    assert np.array_equal(store.row(1).units.durations, alone.durations)


def test_the_folder_holds_nothing_else(whole):
    assert sorted(contents(whole)) == ["header.json", "rejected.jsonl", *(f"shard-0000{i}.parquet" for i in range(5))]
    assert (whole / "rejected.jsonl").read_bytes() == b""


def test_same_bytes_for_any_number_of_workers(corpus, card, whole, tmp_path):
    run(corpus, card, tmp_path / "two", num_workers=2)
    assert contents(tmp_path / "two") == contents(whole)


def test_parts_of_an_array_make_one_store(corpus, card, whole, tmp_path, capsys):
    def part(shard: str) -> StoreHeader | None:
        config = TokenizeCorpusConfig([str(corpus)], str(card), str(tmp_path / "s"), 1, 5, shard=shard)
        return tokenize_corpus(config)

    assert part("1/3") is None
    assert "part 1/3 is done; 3 shards are left to the others" in capsys.readouterr().err
    assert part("0/3") is None
    assert part("2/3") is not None
    assert contents(tmp_path / "s") == contents(whole)
    for wrong in ("3/3", "1", "-1/2", "a/b"):
        with pytest.raises(UserError, match="i/n is wanted"):
            part(wrong)


def test_same_bytes_from_another_place(corpus, card, whole, tmp_path, monkeypatch):
    shutil.copytree(corpus.parent, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    run(Path("manifest.jsonl"), card, tmp_path / "store")
    assert contents(tmp_path / "store") == contents(whole)


def interrupted(corpus: Path, card: Path, output: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A run that ends after so many shards."""
    from cslm.units import tokenize_workers as module

    original, count = module.tokenize_shard, 0

    def failing(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as context:
        context.setattr(module, "tokenize_shard", failing)
        with pytest.raises(KeyboardInterrupt):
            run(corpus, card, output)


def test_a_stopped_run_goes_on(corpus, card, whole, tmp_path, monkeypatch):
    output = tmp_path / "store"
    interrupted(corpus, card, output, monkeypatch, after=2)
    assert not (output / "header.json").exists()
    before = {file: file.stat().st_mtime_ns for file in output.glob("shard-*")}
    assert len(before) == 2
    run(corpus, card, output)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert contents(output) == contents(whole)


def test_a_shard_that_was_spoilt_meanwhile_is_made_again(corpus, card, whole, tmp_path, monkeypatch):
    output = tmp_path / "store"
    interrupted(corpus, card, output, monkeypatch, after=3)
    (output / "shard-00000.parquet").write_bytes(b"spoilt")
    (output / "shard-00001.parquet").unlink()
    run(corpus, card, output)
    assert contents(output) == contents(whole)


def test_a_finished_store_is_left_alone(corpus, card, whole, capsys):
    before = {file: file.stat().st_mtime_ns for file in whole.iterdir()}
    run(corpus, card, whole)
    assert {file: file.stat().st_mtime_ns for file in whole.iterdir()} == before
    assert "already complete" in capsys.readouterr().err


def test_a_finished_store_that_was_spoilt(corpus, card, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "store")
    (tmp_path / "store" / "shard-00002.parquet").write_bytes(b"spoilt")
    with pytest.raises(UserError, match=r"shard-00002\.parquet is missing or changed"):
        run(corpus, card, tmp_path / "store")


@pytest.mark.parametrize("finished", [True, False])
def test_other_work_is_refused(corpus, card, whole, tmp_path, monkeypatch, finished):
    output = tmp_path / "store"
    if finished:
        shutil.copytree(whole, output)
    else:
        interrupted(corpus, card, output, monkeypatch, after=1)
    before = contents(output)
    other_card = fit_card(corpus, tmp_path / "other.yaml", seed=1)
    with pytest.raises(UserError, match=r"made with another speech tokenizer \(sha256:.*than the tokenizer you name"):
        run(corpus, other_card, output)
    other_corpus = write_corpus(tmp_path / "corpus", 22)
    with pytest.raises(UserError, match="holds other work"):
        run(other_corpus, card, output)
    assert contents(output) == before


def test_a_folder_with_something_else_is_refused(corpus, card, tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds something else \(diary\.txt\)"):
        run(corpus, card, tmp_path)
    assert sorted(contents(tmp_path)) == ["diary.txt"]


def spoil(corpus: Path) -> dict[str, str]:
    """Spoil utterances in different ways: id to the reason expected."""
    audio = corpus / "audio"
    (audio / "000.wav").unlink()
    (audio / "002.wav").write_bytes(b"RIFF but no more")
    (audio / "003.wav").write_bytes(b"")
    soundfile.write(audio / "004.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(audio / "006.wav", np.array([0, np.nan, 0], np.float32), 16000, subtype="FLOAT")
    soundfile.write(audio / "007.wav", glide(1, 0.005), 16000)
    return {
        "u000": "audio/000.wav: no such audio file",
        "u002": "audio/002.wav: cannot be read as audio",
        "u003": "audio/003.wav: is empty (0 bytes), so it cannot be read as audio",
        "u004": "audio/004.wav: holds no samples",
        "u006": "audio/006.wav: holds samples that are not numbers",
        "u007": "audio/007.wav: too short: 0.0050 s, this tokenizer needs 0.0100 s",
    }


def test_what_cannot_be_used_is_listed_and_the_rest_is_there(card, tmp_path, capsys):
    manifest = write_corpus(tmp_path / "corpus")
    reasons = spoil(tmp_path / "corpus")
    header = run(manifest, card, tmp_path / "one")
    rejected = [json.loads(line) for line in (tmp_path / "one" / "rejected.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rejected] == list(reasons)
    assert all(row["reason"].startswith(reasons[row["id"]]) for row in rejected)
    assert (header.num_utterances, header.num_rejected) == (17, 6)
    assert "6 rejected (see rejected.jsonl)" in capsys.readouterr().err
    assert not any(str(tmp_path).encode() in content for content in contents(tmp_path / "one").values())
    assert run(manifest, card, tmp_path / "one") == header
    with pytest.raises(UserError, match="was it rejected"):
        UnitStore.open(tmp_path / "one").index_of("u003")


@pytest.mark.parametrize("kinds", [BREAKAGES, FURTHER_BREAKAGES])
def test_files_broken_in_many_ways_among_good_ones(card, tmp_path, kinds):
    folder, lines = tmp_path / "corpus", []
    folder.mkdir()
    for index in range(60):
        kind = list(kinds)[index // 2 % len(kinds)] if index % 2 else "good"
        if kind == "good":
            soundfile.write(folder / f"{index}.wav", glide(index, 0.4), 16000)
        audio = f"{index}.wav" if kind == "good" else write_broken_file(kind, folder, str(index))
        lines.append(json.dumps({"id": f"{kind} {index}", "audio": audio, "text": "a", "language": "en"}))
    (folder / "m.jsonl").write_text("\n".join(lines))
    options = {"max_sec": LONGEST_SEC, "root": str(folder)}
    config = TokenizeCorpusConfig([str(folder / "m.jsonl")], str(card), str(tmp_path / "s"), 1, 7, **options)
    header = tokenize_corpus(config)
    rejected = [json.loads(line) for line in (tmp_path / "s" / "rejected.jsonl").read_text().splitlines()]
    assert (header.num_utterances, len(rejected)) == (30, 30)
    assert all(row.id.startswith("good") for row in UnitStore.open(tmp_path / "s"))
    for row in rejected:
        kind, _, _ = row["id"].rpartition(" ")
        assert re.search(kinds[kind], row["reason"]), row
    assert {row["id"].rpartition(" ")[0] for row in rejected} == set(kinds)


def test_audio_that_threads_load_ahead_comes_in_order(card, tmp_path, monkeypatch):
    manifest = write_corpus(tmp_path / "corpus")
    for index in range(0, 23, 3):
        (tmp_path / "corpus" / "audio" / f"{index:03d}.wav").unlink()
        write_broken_file(list(BREAKAGES)[index // 3], tmp_path / "corpus" / "audio", f"{index:03d}")
    run(manifest, card, tmp_path / "in turn")
    monkeypatch.setattr("cslm.units.tokenize_corpus.make_runtime", lambda *_: Runtime(loading_threads=3))
    monkeypatch.setattr("cslm.units.tokenize_shard._CLIPS_AHEAD", 1)
    run(manifest, card, tmp_path / "ahead")
    assert contents(tmp_path / "ahead") == contents(tmp_path / "in turn")
    assert (tmp_path / "ahead" / "rejected.jsonl").read_text().count("\n") > 3


def test_a_shard_of_bad_files_only(card, tmp_path):
    manifest = write_corpus(tmp_path / "corpus")
    for index in range(5, 10):
        (tmp_path / "corpus" / "audio" / f"{index:03d}.wav").unlink()
    header = run(manifest, card, tmp_path / "store")
    assert [shard.file for shard in header.shards] == [f"shard-0000{i}.parquet" for i in (0, 2, 3, 4)]
    assert UnitStore.open(tmp_path / "store").index_of("u010") == 5


def test_a_disk_that_vanishes_is_no_reason_to_reject(corpus, card, whole, tmp_path, monkeypatch):
    audio, away = corpus.parent / "audio", corpus.parent / "away"
    load, calls = tokenize_shard.load_waveform, []

    def vanish(path, *rest):
        calls.append(path)
        if len(calls) == 8:
            audio.rename(away)
        return load(path, *rest)

    monkeypatch.setattr(tokenize_shard, "load_waveform", vanish)
    with pytest.raises(OSError, match="nor what else was read for shard 1: is it mounted"):
        run(corpus, card, tmp_path / "s")
    away.rename(audio)
    run(corpus, card, tmp_path / "s")
    assert contents(tmp_path / "s") == contents(whole)


def test_a_shard_whose_folder_never_was_is_rejected(card, tmp_path):
    """One wrong path, alone in the last shard, must not stop a command whose disk is there."""
    manifest = write_corpus(tmp_path / "corpus", 5)
    manifest.write_text(manifest.read_text() + '{"id": "x", "audio": "nowhere/x.wav", "text": "", "language": "en"}\n')
    header = run(manifest, card, tmp_path / "s")
    assert (header.num_utterances, header.num_rejected) == (5, 1)


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(corpus, card, whole, tmp_path, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    begin = TokenizingProgress.begin

    def begin_then_full(progress):
        begin(progress)
        monkeypatch.setattr("cslm.files.atomic_file.os.fsync", full)

    monkeypatch.setattr(TokenizingProgress, "begin", begin_then_full)
    with pytest.raises(SystemExit) as stopped:
        exit_with_status(lambda: run(corpus, card, tmp_path / "s"))
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert "No space left on device: " in told and "shard-00000.parquet; mend that and run" in told
    monkeypatch.undo()
    run(corpus, card, tmp_path / "s")
    assert contents(tmp_path / "s") == contents(whole)


def test_nothing_can_be_used(card, tmp_path):
    manifest = write_corpus(tmp_path / "corpus", 3)
    for file in (tmp_path / "corpus" / "audio").iterdir():
        file.unlink()
    with pytest.raises(
        UserError, match=r"not one of 3 utterances could be tokenized; the first: audio/000\.wav: no such"
    ):
        run(manifest, card, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_bad_manifest_leaves_nothing(card, tmp_path):
    manifest = write_corpus(tmp_path / "corpus", 3)
    manifest.write_text(manifest.read_text() + '{"id": "x"}\n')
    with pytest.raises(UserError, match="line 4: misses the field 'audio'"):
        run(manifest, card, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_several_manifests_by_command_line(corpus, card, tmp_path):
    second = write_corpus(tmp_path / "second", 4)
    rows = [Utterance(**{**vars(u), "id": f"second-{u.id}"}) for u in read_manifest(second)]
    write_manifest(rows, second)
    main(
        [str(corpus), str(second), "--tokenizer", str(card), "--output", str(tmp_path / "store"), "--num_workers", "1"]
    )
    store = UnitStore.open(tmp_path / "store")
    assert len(store) == 27
    assert store.row(26).id == "second-u003"


def test_an_id_in_two_manifests(corpus, card, tmp_path):
    with pytest.raises(UserError, match=r"'u000' is in an earlier manifest too"):
        main([str(corpus), str(corpus), "--tokenizer", str(card), "--output", str(tmp_path / "store")])


def test_parts_of_a_file(corpus, card, tmp_path):
    rows = [Utterance("a", "audio/010.wav", "x", "en", 0.1, 0.4), Utterance("b", "audio/010.wav", "x", "en", 0.5)]
    write_manifest(rows, corpus.parent / "parts.jsonl")
    run(corpus.parent / "parts.jsonl", card, tmp_path / "store")
    assert UnitStore.open(tmp_path / "store").column("duration_sec").tolist() == pytest.approx([0.4, 0.5])


def command(corpus: Path, card: Path, output: Path, num_workers: int) -> subprocess.Popen[bytes]:
    options = ["--tokenizer", str(card), "--output", str(output), "--num_workers", str(num_workers)]
    options += ["--utterances_per_shard", "1"]
    code = "import sys; from cslm.units.tokenize_corpus import main; main(sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    arguments = [sys.executable, "-c", code, str(corpus), *options]
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)


def kill_after_the_first_shard(corpus: Path, card: Path, output: Path) -> None:
    first = command(corpus, card, output, 2)
    deadline = time.monotonic() + 300
    while not list(output.glob("shard-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()


def test_killed_and_started_twice_at_once(corpus, card, tmp_path):
    """kill -9 in the middle, then two runs that share what is left: the bytes of one uninterrupted run."""
    output = tmp_path / "store"
    kill_after_the_first_shard(corpus, card, output)
    together = [command(corpus, card, output, 1) for _ in range(2)]
    assert [process.wait(timeout=300) for process in together] == [0, 0]
    run(corpus, card, tmp_path / "whole", utterances_per_shard=1)
    assert contents(output) == contents(tmp_path / "whole")


def test_a_half_written_shard_of_a_killed_process_does_not_stay(corpus, card, tmp_path):
    output = tmp_path / "store"
    kill_after_the_first_shard(corpus, card, output)
    (output / ".shard-00002.parquet.4589.tmp").write_bytes(b"PAR1")
    run(corpus, card, output, utterances_per_shard=1)
    assert not [path.name for path in output.iterdir() if path.name.startswith(".shard")]


def test_real_chinese_questions(belle, tmp_path):
    from cslm.synthesis.prepare_corpus import main as prepare_corpus

    columns = ["--table", str(belle / "test.tsv"), "--path_template", "wav/{id}.wav", "--language", "zh"]
    prepare_corpus(["table", str(tmp_path / "corpus"), "--audio_dir", str(belle), *columns])
    manifest = tmp_path / "corpus" / "manifest.jsonl"
    card = fit_card(manifest, tmp_path / "card.yaml")
    header = run(manifest, card, tmp_path / "store", utterances_per_shard=1000)
    assert (header.num_utterances, header.num_rejected) == (100, 0)
    assert header.num_frames == pytest.approx(header.audio_sec * 100, rel=0.01)
    assert header.num_units < 0.95 * header.num_frames


def test_two_speakers_of_one_file_have_units_of_their_own(card, tmp_path):
    left, right = (glide(index, 2.0) for index in (0, 3))
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), RATE_HZ, subtype="FLOAT")
    for name, waveform in (("left", left), ("right", right)):
        soundfile.write(tmp_path / f"{name}.wav", waveform, RATE_HZ, subtype="FLOAT")
    rows = [Utterance(f"c{channel}", "two.wav", "", "en", channel=channel) for channel in (0, 1, 2)]
    rows += [Utterance(name, f"{name}.wav", "", "en") for name in ("left", "right")]
    write_manifest(rows, tmp_path / "m.jsonl")
    run(tmp_path / "m.jsonl", card, tmp_path / "s")
    units = {row.id: row.units.ids.tolist() for row in UnitStore.open(tmp_path / "s")}
    assert units["c0"] == units["left"] != units["c1"] == units["right"]
    rejected = [json.loads(line) for line in (tmp_path / "s" / "rejected.jsonl").read_text().splitlines()]
    assert [(row["id"], row["reason"]) for row in rejected] == [
        ("c2", "two.wav: has no channel 2, but 2 (counted from 0)")
    ]


def test_half_a_character_is_rejected_by_name_and_wrong_headers_are_noted(card, tmp_path):
    save_waveform(tmp_path / "a.wav", glide(0, 2.0), RATE_HZ)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "zero.wav").write_bytes(content[:40] + bytes(4) + content[44:])
    row = {"id": "a", "audio": "a.wav", "text": "", "language": "en"}
    halves = [{**row, "id": "x\ud83d"}, {**row, "id": "y", "text": "\ud83d"}, {**row, "id": "z", "audio": "\ud83d.wav"}]
    rows = [row, *halves, {**row, "id": "zero", "audio": "zero.wav"}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    run(tmp_path / "m.jsonl", card, tmp_path / "s")
    assert [row.id for row in UnitStore.open(tmp_path / "s")] == ["a", "zero"]
    rejected, noted = (
        [json.loads(line) for line in (tmp_path / "s" / name).read_text().splitlines()]
        for name in ("rejected.jsonl", "noted.jsonl")
    )
    assert [row["id"] for row in rejected] == ["x\\ud83d", "y", "z"]
    assert all("half of a Unicode character" in row["reason"] for row in rejected)
    assert [row["id"] for row in noted] == ["zero"]


def test_too_many_rejected_are_a_status_and_the_store_is_whole(card, tmp_path):
    save_waveform(tmp_path / "a.wav", glide(0, 2.0), RATE_HZ)
    write_manifest([Utterance(name, f"{name}.wav", "", "en") for name in "ab"], tmp_path / "m.jsonl")
    for _ in range(2):
        with pytest.raises(UserError, match="50.0% of the utterances were rejected"):
            run(tmp_path / "m.jsonl", card, tmp_path / "s", max_rejected_share=0.05)
    assert len(UnitStore.open(tmp_path / "s")) == 1
