"""The verb ``respond``: a wav and a JSON file, or one line of error and nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cslm.audio.waveform import save_waveform
from cslm.errors import UserError
from cslm.generation.processor import CSLMProcessor
from cslm.generation.respond import main
from cslm.generation.speech_tasks import Grammars
from tests.worlds.tiny_checkpoint import make_checkpoint, tone


@pytest.fixture
def question(tmp_path: Path) -> Path:
    save_waveform(tmp_path / "question.wav", tone(0.6, 16000), 16000)
    return tmp_path / "question.wav"


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model seldom gets to speak by itself."""
    of_kind = Grammars.grammar
    monkeypatch.setattr(Grammars, "grammar", lambda grammars, writes: of_kind(grammars, "speech"))


def test_it_writes_the_answer_and_what_it_says(
    checkpoint: Path, question: Path, tmp_path: Path, speaks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    output, record = tmp_path / "deep" / "answer.wav", tmp_path / "reply.json"
    arguments = [str(checkpoint), str(question), "--output", str(output), "--json", str(record)]
    main([*arguments, "--answer_language", "zh", "--decoding.max_new_tokens", "40"])
    reply = json.loads(record.read_text())
    waveform, rate = soundfile.read(output)
    assert rate == reply["sample_rate_hz"] == 22050 and len(waveform) > 0
    assert reply["answer_language"] == "zh" and reply["num_chunks"] == len(reply["segments"])
    assert "answer (zh)" in capsys.readouterr().out


def test_it_keeps_when_each_part_was_known(checkpoint: Path, question: Path, tmp_path: Path, speaks: None) -> None:
    output, times = tmp_path / "answer.wav", tmp_path / "times.json"
    arguments = [str(checkpoint), str(question), "--output", str(output), "--time_line", str(times)]
    main([*arguments, "--answer_language", "zh", "--decoding.max_new_tokens", "40"])
    line = json.loads(times.read_text())
    assert sum(lasts for _, lasts in line["sounds"]) == pytest.approx(soundfile.info(output).duration, abs=1e-3)
    moments = [line["heard_sec"], *(came for came, _ in line["sounds"]), line["end_sec"]]
    assert moments == sorted(moments) and line["num_ids"] <= 40
    assert line["chunks"][0]["units_sec"]


def test_nothing_is_written_after_an_error(checkpoint: Path, question: Path, tmp_path: Path) -> None:
    output = tmp_path / "answer.wav"
    save_waveform(tmp_path / "empty.wav", np.zeros(0, np.float32), 16000)
    silent = make_checkpoint(tmp_path / "silent", decoder=False)
    for folder, asked, message in (
        (checkpoint, tmp_path / "empty.wav", r"empty\.wav"),
        (tmp_path / "nowhere", question, "nowhere: there is no such"),
        (silent, question, "no speech decoder"),
    ):
        with pytest.raises(UserError, match=message):
            main([str(folder), str(asked), "--output", str(output)])
        assert not output.exists()
    with pytest.raises(UserError, match="answer_langage"):
        main([str(checkpoint), str(question), "--output", str(output), "--answer_langage", "zh"])


def test_a_reply_that_is_cut_before_it_speaks_says_so_and_not_to_fine_tune_longer(
    checkpoint: Path, question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_kind = Grammars.grammar
    monkeypatch.setattr(Grammars, "grammar", lambda grammars, writes: of_kind(grammars, "text"))
    monkeypatch.setattr(CSLMProcessor, "end_ids", property(lambda processor: (processor.vocabulary.sosp,)))
    arguments = [str(checkpoint), str(question), "--output", str(tmp_path / "answer.wav")]
    with pytest.raises(UserError, match=r"it was cut by decoding\.max_new_tokens 3.*raise max_new_tokens"):
        main([*arguments, "--decoding.max_new_tokens", "3"])
    assert not (tmp_path / "answer.wav").exists()


def test_an_output_that_cannot_be_made_is_refused_before_the_model_is_opened(question: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, message in ((tmp_path / "file" / "a.wav", "file is a file"), (tmp_path, "which is a folder")):
        with pytest.raises(UserError, match=rf"output is .*{message}"):
            main([str(tmp_path / "nowhere"), str(question), "--output", str(name)])


def test_the_script_leaves_with_status_2_and_one_line(root: Path, checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "recipes/respond.py", str(checkpoint), str(tmp_path / "no.wav"), "--output", "x.wav"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and not (root / "x.wav").exists()
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and "no.wav" in done.stderr
