"""Real frozen parts and real speech, where ``CSLM_PRETRAINED`` and ``CSLM_PROMPTS`` name folders of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from cslm.audio.waveform import resample, save_waveform
from cslm.corpora.manifest import Utterance, write_manifest

MOST_SEC = 5.1
"""so that every eighth frame of a clip makes at most 32 vectors"""
_RATE_HZ = 16000
_VOICES = ("en-us", "en-gb", "en-us+m3", "en-gb+f1")
_WHO = ("Anna", "The baker", "My brother", "Nobody", "The old doctor", "Every child")
_WHAT = ("likes red apples", "went to the market on Monday", "reads a letter by the window", "sold two white horses",
         "forgot the key of the house", "sings when the rain stops", "found a coin under the table",
         "waits for the last train")  # fmt: skip


class Pretrained(NamedTuple):
    """Folders of transformers."""

    whisper: Path
    llm: Path


def pretrained_parts() -> Pretrained:
    """The Whisper and the language model of the folder; the test is skipped where it is not named, or lacks one."""
    named = os.environ.get("CSLM_PRETRAINED")
    if not named:
        pytest.skip("CSLM_PRETRAINED names no folder of a Whisper and a language model with a chat template")
    kinds = {
        file.parent: json.loads(file.read_text("utf-8"))["model_type"]
        for file in sorted(Path(named).glob("*/config.json"))
    }
    whispers = [folder for folder, kind in kinds.items() if kind == "whisper"]
    others = [folder for folder, kind in kinds.items() if kind != "whisper"]
    if not whispers or not others:
        pytest.skip(f"CSLM_PRETRAINED: {named} holds no Whisper beside a language model")
    return Pretrained(whispers[0], others[0])


def write_speech(root: Path, count: int, held_out: int) -> Path:
    """English of a second and a half up to :data:`MOST_SEC`: ``manifest.jsonl``, and ``test.jsonl`` of the last ones.

    People's where ``CSLM_PROMPTS`` names a folder with ``en.tsv`` (id, text) and ``en/ID.wav``; else espeak-ng's.
    """
    found = _people if os.environ.get("CSLM_PROMPTS") else _synthesized
    utterances = []
    for number, (text, waveform) in enumerate(found(count)):
        save_waveform(root / f"audio/{number:02d}.wav", waveform, _RATE_HZ)
        utterances.append(Utterance(f"s{number}", f"audio/{number:02d}.wav", text, "en", speaker="one"))
    write_manifest(utterances[: count - held_out], root / "manifest.jsonl")
    write_manifest(utterances[count - held_out :], root / "test.jsonl")
    return root


def _people(count: int) -> list[tuple[str, np.ndarray]]:
    folder = Path(os.environ["CSLM_PROMPTS"])
    found = []
    for row in (folder / "en.tsv").read_text("utf-8").splitlines()[1:]:
        name, text = row.split("\t", 1)
        path = folder / "en" / f"{name}.wav"
        if path.is_file() and 1.5 <= soundfile.info(path).duration <= MOST_SEC:
            waveform, rate_hz = soundfile.read(path, dtype="float32")
            found.append((text, resample(waveform, rate_hz, _RATE_HZ)))
    chosen = np.random.default_rng(0).permutation(len(found))[:count].tolist()
    return [found[place] for place in chosen]


def _synthesized(count: int) -> list[tuple[str, np.ndarray]]:
    pytest.importorskip("espeakng_loader", reason="speech comes from the extra tts, or from CSLM_PROMPTS")
    from cslm.audio.espeak import Synthesizer

    synthesizer = Synthesizer()
    texts = [f"{who} {what}." for what in _WHAT for who in _WHO]
    chosen = np.random.default_rng(0).permutation(len(texts))[:count].tolist()
    found = []
    for number, place in enumerate(chosen):
        said = synthesizer.speak(texts[place], f"gmw/{_VOICES[number % len(_VOICES)]}")
        waveform = said.waveform.astype(np.float32) / 32768
        found.append((texts[place], resample(waveform, said.sample_rate_hz, _RATE_HZ)[: int(MOST_SEC * _RATE_HZ)]))
    return found
