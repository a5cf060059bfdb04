"""The figures of a server, on a tiny model: they are there, each with its percentiles."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

import runpy

from cslm.audio.waveform import save_waveform
from cslm.benchmarks import served_replies as module
from cslm.benchmarks.served_replies import served_replies
from cslm.benchmarks.timed_reply import Asked
from cslm.corpora.manifest import Utterance, write_manifest
from tests.worlds.served import speaking_model
from tests.worlds.tiny_checkpoint import tone

ROOT = Path(__file__).resolve().parents[2]
PERCENTILES = {"n", "p50", "p95", "p99", "max"}


def test_the_figures(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = speaking_model(tmp_path_factory.mktemp("speaking"))
    asked = [Asked((tone(0.6, 16000, 200.0 + 90 * number, number), 16000), "en", "zh") for number in range(2)]
    found = served_replies(model, asked, 60, num_connections=2, num_cancels=4, num_refusals=3)
    assert found["num_replies"] == found["num_heard"] == 2
    assert found["first_audio"]["cold"] > 0 and set(found["first_audio"]["warm"]) == PERCENTILES
    assert found["whole"]["warm"]["p50"] >= found["first_audio"]["warm"]["p50"]
    assert set(found["connections"]) == {"1", "2", "p95_by_one"} and found["connections"]["p95_by_one"] > 0
    assert found["cancel"]["count"] >= 1 and found["cancel"]["to_last_pass"]["p99"] >= 0
    assert found["refusal"]["p95"] > 0 and found["first_audio_by_floor"]["p50"] > 0.3
    json.dumps(found)


def test_the_tool(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_waveform(tmp_path / "q.wav", tone(0.5, 16000), 16000)
    write_manifest([Utterance("q", "q.wav", "who", "en")], tmp_path / "manifest.jsonl")
    line = {"id": "d", "question": "q", "question_language": "en", "answer_language": "zh"}
    (tmp_path / "dialogues.jsonl").write_text(json.dumps(line) + "\n")
    files = [str(checkpoint), str(tmp_path / "dialogues.jsonl"), str(tmp_path / "manifest.jsonl")]
    given: list[object] = []
    monkeypatch.setattr(module, "served_replies", lambda *given_now: given.append(given_now) or {"figure": 1})
    script = str(ROOT / "tools" / "bench_serve.py")
    monkeypatch.setattr(sys, "argv", [script, *files, "--cancels", "3", "--json", str(tmp_path / "found.json")])
    runpy.run_path(script, run_name="__main__")
    assert json.loads((tmp_path / "found.json").read_text()) == {"figure": 1}
    ((_, asked, most, connections, cancels),) = given
    assert (len(asked), most, connections, cancels) == (1, 2048, 8, 3)
