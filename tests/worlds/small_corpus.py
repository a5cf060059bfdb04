"""A corpus of a few gliding tones, made in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.codecs.fit_tokenizer import FitTokenizerConfig, fit_tokenizer
from cslm.corpora.manifest import Utterance, write_manifest

RATE_HZ = 16000


def glide(seed: int, duration_sec: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Three harmonics that change their pitch and level every tenth of a second, with a little noise."""
    generator = np.random.default_rng(seed)
    num_samples = round(duration_sec * rate_hz)
    pieces = -(-num_samples // (rate_hz // 10))
    pitch_hz = np.repeat(generator.uniform(120, 900, pieces), rate_hz // 10)[:num_samples]
    level = np.repeat(generator.uniform(0.05, 0.5, pieces), rate_hz // 10)[:num_samples]
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    tone = sum(np.sin(k * phase) / k for k in (1, 3, 7))
    return (level * tone / 2 + generator.normal(0, 1e-3, num_samples)).astype(np.float32)


def write_corpus(folder: Path, num_utterances: int = 23) -> Path:
    """Audio and manifest; every fourth file has another sample rate."""
    utterances = []
    for index in range(num_utterances):
        rate_hz = 22050 if index % 4 == 3 else RATE_HZ
        name = f"audio/{index:03d}.wav"
        save_waveform(folder / name, glide(index, 0.3 + 0.07 * (index % 11), rate_hz), rate_hz)
        utterances.append(
            Utterance(
                id=f"u{index:03d}",
                audio=name,
                text=f"tone {index}" if index % 2 else f"音 {index}",
                language="en" if index % 2 else "zh",
                speaker=None if index % 5 == 0 else f"voice{index % 3}",
                group=f"g{index // 2}",
                words=[("tone", 0.0, 0.1), (str(index), 0.1, 0.3)] if index % 2 else None,
            )
        )
    write_manifest(utterances, folder / "manifest.jsonl")
    return folder / "manifest.jsonl"


def fit_card(manifest: Path, path: Path, seed: int = 0) -> Path:
    """A card of 16 units."""
    fit_tokenizer(FitTokenizerConfig(manifests=[str(manifest)], output=str(path), codebook_size=16, seed=seed))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
