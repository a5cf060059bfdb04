"""Decoders beside the synthesizer: what is paired is paired, and the tool finds the worse of two."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from cslm.audio.waveform import save_waveform
from cslm.benchmarks import vocoder_quality as module
from cslm.benchmarks.vocoder_quality import difference, log_mel_distance
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.errors import MissingExtraError
from tests.worlds.tiny_checkpoint import tone

ROOT = Path(__file__).resolve().parents[2]


def test_log_mel_of_half_the_loudness_is_the_logarithm_of_2_away() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 22050).astype(np.float32)
    config = DecoderConfig()
    assert log_mel_distance((noise, 22050), (noise, 22050), config) == 0
    assert log_mel_distance((noise / 2, 22050), (noise, 22050), config) == pytest.approx(np.log(2), rel=1e-3)
    assert log_mel_distance((noise[:9000], 22050), (noise, 22050), config) < 0.05  # the frames that both have


def test_differences_are_paired() -> None:
    values = [3.0, 1.0, 2.5, 4.0]
    found = difference([value + 0.2 for value in values], values)
    assert found["mean"] == pytest.approx(0.2) and found["interval"] == pytest.approx([0.2, 0.2])


def test_dnsmos_that_is_not_installed_is_asked_for_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(MissingExtraError, match=r"DNSMOS needs the package speechmos: pip install 'cslm\[mos\]'"):
        module.vocoder_quality(None, {}, {}, {})


def test_the_tool(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = []
    for number, language in enumerate(["en", "en", "zh"]):
        save_waveform(tmp_path / f"s{number}.wav", tone(0.8, 22050, 200.0 + 90 * number, number), 22050)
        utterances.append(Utterance(f"s{number}", f"s{number}.wav", "Anna works", language))
    write_manifest(utterances, tmp_path / "manifest.jsonl")
    decoder = SpeechDecoder.from_pretrained(checkpoint / "speech/decoder")
    decoder.save_pretrained(tmp_path / "first")
    decoder.mel_mean += 1.0
    decoder.save_pretrained(tmp_path / "louder")
    scores = iter([3.0, 2.0, 2.5, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0])  # en: own, first, louder, of 2 sentences; zh of 1
    monkeypatch.setattr(module, "dnsmos", lambda clip: next(scores))
    monkeypatch.setattr(module, "_dnsmos", lambda: None)
    script = str(ROOT / "tools" / "bench_vocoder.py")
    files = [str(checkpoint), str(tmp_path / "manifest.jsonl"), str(tmp_path / "first"), str(tmp_path / "louder")]
    monkeypatch.setattr(sys, "argv", [script, *files, "--json", str(tmp_path / "found.json")])
    runpy.run_path(script, run_name="__main__")
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"en", "zh"} and (found["en"]["n"], found["zh"]["n"]) == (2, 1)
    english = found["en"]
    assert set(english) == {"n", "synthesizer", "first", "louder", "differences"}
    assert english["synthesizer"]["dnsmos"]["mean"] == 2.5 and "wer" in english["synthesizer"]["own_ear"]
    assert english["first"]["dnsmos"]["below_synthesizer"]["mean"] == 0.5  # 3 - 2.5 and 2 - 1.5
    assert english["differences"]["louder - first"]["dnsmos"]["mean"] == 0.25  # 2 - 2.5 and 2.5 - 1.5
    assert english["first"]["real_time_factor"]["warm"]["n"] == 1 and "cer" in found["zh"]["louder"]["own_ear"]
    monkeypatch.setattr(sys, "argv", [script, *files, files[-1]])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(script, run_name="__main__")
    assert left.value.code == 2
