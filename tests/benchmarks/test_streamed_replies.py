"""The figures of streamed replies: by hand-made numbers, and on a tiny model, where what is exact is exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cslm import CSLMForCausalLM
from cslm.audio.waveform import save_waveform
from cslm.benchmarks.streamed_replies import FirstSound, SideBySide, by_chunks, overlap, streamed_replies
from cslm.benchmarks.timed_reply import Asked
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.generation.decoding import DecodingConfig
from tests.worlds.served import speaking_model
from tests.worlds.tiny_checkpoint import tone

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> CSLMForCausalLM:
    return speaking_model(tmp_path_factory.mktemp("speaking"))


def test_replies_are_told_by_their_chunks() -> None:
    told = by_chunks([FirstSound(4, 1.0, 4.0, 6.0), FirstSound(3, 1.0, 2.0, 3.0), FirstSound(4, 2.0, 4.0, 8.0)])
    assert list(told) == ["3", "4"]
    assert told["3"]["share"] == {"n": 1, "p50": 0.5, "p95": 0.5, "p99": 0.5, "max": 0.5}
    assert told["4"]["share"]["p50"] == 0.375 and told["4"]["share"]["max"] == 0.5  # of 0.25 and 0.5
    assert told["4"]["first_sec"]["p50"] == 1.5 and told["4"]["playing_sec"]["p50"] == 7.0


def test_overlap_is_what_replies_save_by_what_two_loops_save() -> None:
    # 3 + 2 s alone, 3.5 s side by side: 1.5 s can be saved, and the reply of 4 s saves 1 s of them
    assert overlap([SideBySide(3.0, 2.0, 3.5, 4.0)])["value"] == pytest.approx(2 / 3)
    # over all replies: (1 + 1.5) of (1.5 + 1.5) s
    both = overlap([SideBySide(3.0, 2.0, 3.5, 4.0), SideBySide(3.0, 2.0, 3.5, 3.5)])
    assert both["value"] == pytest.approx(2.5 / 3) and both["reply_sec"] == 7.5 and both["note"] is None
    # a reply that is slower than one thing after the other saves less than nothing
    assert overlap([SideBySide(3.0, 2.0, 3.5, 6.0)])["value"] == pytest.approx(-2 / 3)


@pytest.mark.parametrize("beside_sec", [4.95, 5.0, 5.5])
def test_overlap_of_loops_that_save_nothing_was_told_as_1(beside_sec: float) -> None:
    found = overlap([SideBySide(3.0, 2.0, beside_sec, 5.0)])
    assert found["value"] is None and found["note"].startswith("not measurable: two independent loops save ")
    assert overlap([])["value"] is None


def test_the_figures(speaking: CSLMForCausalLM) -> None:
    asked = [Asked((tone(0.6, 16000, 200.0 + 90 * n, n), 16000), "en", "zh") for n in range(3)]
    found = streamed_replies(speaking, asked, DecodingConfig(max_new_tokens=80), num_cancels=3)
    assert found["ids_equal"] == found["samples_equal"] == 1.0
    assert found["num_replies"] == found["num_spoken"] == 2
    warm = found["first_sound"]["warm"]
    assert sum(of["share"]["n"] for of in warm.values()) == 2 and all(int(number) > 1 for number in warm)
    assert all(0 < of["share"]["max"] <= 1 for of in warm.values()) and 0 < found["first_sound"]["cold"]["share"] <= 1
    assert found["first_sound_by_first_window"]["max"] >= found["first_sound_by_floor"]["max"]
    assert found["log_mel_difference"]["fp32"]["max"] < 1e-4 and found["log_mel_difference"]["fp64"]["max"] < 1e-9
    assert found["joints"]["answers"]["n"] == 2
    assert found["cancel_ms"]["n"] == 3 and found["starved_ms"]["n"] == found["starved_ms_at_09"]["n"] == 2
    assert {"even", "random"} <= found["many_at_once"].keys() and found["many_at_once"]["step_by_rows"]["1"] == 1.0
    assert found["vocoder_reach_sec"] == pytest.approx(6 * 256 / 22050)
    assert "against_full" not in found
    json.dumps(found)


def test_the_tool(checkpoint: Path, tmp_path: Path) -> None:
    utterances, lines = [], []
    for number in range(2):
        save_waveform(tmp_path / f"q{number}.wav", tone(0.5, 16000, 200.0 + 90 * number), 16000)
        utterances.append(Utterance(f"q{number}", f"q{number}.wav", "who", "en"))
        lines.append({"id": f"d{number}", "question": f"q{number}", "question_language": "en", "answer_language": "zh"})
    write_manifest(utterances, tmp_path / "manifest.jsonl")
    (tmp_path / "dialogues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = [str(checkpoint), str(tmp_path / "dialogues.jsonl"), str(tmp_path / "manifest.jsonl")]
    command = [sys.executable, str(ROOT / "tools" / "bench_stream.py"), *files, "--max_new_tokens", "60"]
    done = subprocess.run([*command, "--json", str(tmp_path / "found.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "found.json").read_text())["ids_equal"] == 1.0
    done = subprocess.run([*command, "--full", str(checkpoint)], capture_output=True, text=True)
    assert done.returncode == 2 and "answers in the order 'interleaved'" in done.stderr
    lines[0]["question"] = "nowhere"
    (tmp_path / "dialogues.jsonl").write_text(json.dumps(lines[0]) + "\n")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "has no utterance 'nowhere'" in done.stderr
