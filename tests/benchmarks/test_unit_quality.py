"""The quality of units on a corpus of tones: two words, each said by two speakers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.corpora.manifest import Utterance, write_manifest
from tests.worlds.small_corpus import RATE_HZ, fit_card, glide

ROOT = Path(__file__).resolve().parents[2]
WORDS = {"down": 1, "up": 2}


def test_the_same_word_of_another_speaker_is_nearer_than_another_word(tmp_path: Path) -> None:
    utterances = []
    for index in range(12):
        order = ["down", "up"] if index % 3 else ["up", "down"]
        parts = [glide(WORDS[word], 0.4) * (0.4 if index % 2 else 1.0) for word in order]
        noise = np.random.default_rng(index).normal(0, 1e-3, 2 * len(parts[0])).astype(np.float32)
        save_waveform(tmp_path / f"{index}.wav", np.concatenate(parts) + noise, RATE_HZ)
        words = [(order[0], 0.0, 0.4), (order[1], 0.4, 0.8)]
        name = f"u{index}"
        utterances.append(
            Utterance(name, f"{index}.wav", " ".join(order), "en", speaker=f"voice{index % 2}", words=words)
        )
    write_manifest(utterances, tmp_path / "manifest.jsonl")
    card = fit_card(tmp_path / "manifest.jsonl", tmp_path / "card.yaml")
    command = [sys.executable, str(ROOT / "tools" / "bench_units.py"), str(tmp_path / "manifest.jsonl"), str(card)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert set(figures) == {"utterances", "units_per_sec", "changed_by_shift", "abx_error"}
    assert figures["utterances"] == 12 and 2 < figures["units_per_sec"] < 100
    assert 0 <= figures["changed_by_shift"] < 1 and figures["abx_error"]["en"] < 0.1
