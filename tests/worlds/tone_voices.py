"""Two voices that speak in tones: unit ``u`` sounds at its own frequency, the second voice an octave higher."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units, merge_repeats
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.decoder.decoder_config import DecoderCard, DecoderConfig
from cslm.decoder.decoder_data import DecoderData, choose_rows, prepare_mels
from cslm.units.store import StoreRow, UnitStore, write_store

RATE_HZ, FRAME_RATE_HZ, NUM_UNITS = 22050, 25.0, 6
FINGERPRINT = "sha256:" + "0" * 64
VOICES = {"en": ["low"], "zh": ["high"]}
TINY = DecoderConfig(
    width=24,
    num_blocks=1,
    condition_width=16,
    num_condition_blocks=1,
    flow_width=16,
    num_flow_blocks=1,
    duration_width=16,
    num_griffin_lim_iterations=4,
)
CARD = DecoderCard(TINY, FINGERPRINT, (NUM_UNITS,), FRAME_RATE_HZ, ("en", "zh"))


def tone_hz(unit: int, voice: int) -> float:
    """High enough that mel bands, 37 Hz apart, tell the tones apart."""
    return 600.0 * 2**voice * 1.2**unit


def sound(ids: np.ndarray, voice: int) -> np.ndarray:
    frequencies = np.array([tone_hz(int(unit), voice) for unit in ids])
    phases = np.cumsum(np.repeat(frequencies, round(RATE_HZ / FRAME_RATE_HZ))) * 2 * np.pi / RATE_HZ
    return (0.3 * np.sin(phases)).astype(np.float32)


def frames_of(generator: np.random.Generator, num_units: int) -> np.ndarray:
    """Units of random order; unit ``u`` always lasts ``1 + u`` frames."""
    steps = generator.integers(1, NUM_UNITS, num_units)
    units = np.cumsum(steps) % NUM_UNITS
    return np.repeat(units, units + 1)


def make_corpus(folder: Path, num_utterances: int = 12, num_units: int = 12) -> Path:
    """``folder/manifest.jsonl``, its audio, and ``folder/units``; returns the manifest."""
    generator = np.random.default_rng(0)
    utterances, rows = [], []
    for index in range(num_utterances):
        language, voice = ("en", 0) if index % 2 else ("zh", 1)
        ids = frames_of(generator, num_units)
        name, speaker = f"u{index}", VOICES[language][0]
        save_waveform(folder / f"{name}.wav", sound(ids, voice), RATE_HZ)
        utterances.append(Utterance(name, f"{name}.wav", "tones", language, speaker=speaker))
        units = merge_repeats(Units(ids[:, None].astype(np.int64)))
        rows.append(StoreRow(name, language, "tones", len(ids) / FRAME_RATE_HZ, units, speaker=speaker))
    write_manifest(utterances, folder / "manifest.jsonl")
    write_store(
        folder / "units",
        rows,
        fingerprint=FINGERPRINT,
        card="tones",
        codebook_sizes=(NUM_UNITS,),
        frame_rate_hz=FRAME_RATE_HZ,
    )
    return folder / "manifest.jsonl"


def open_data(folder: Path, mels: Path, config: DecoderConfig = TINY) -> DecoderData:
    store = UnitStore.open(folder / "units")
    rows, voices = choose_rows(store, VOICES, None, seed=0)
    cache = prepare_mels(store, rows, folder / "manifest.jsonl", mels, config, num_workers=1)
    return DecoderData(store, rows, voices, cache)


def random_units(seed: int, num_units: int, durations: bool = True) -> Units:
    """Merged units in the order of the tones, with their durations or without."""
    units = merge_repeats(Units(frames_of(np.random.default_rng(seed), num_units)[:, None].astype(np.int64)))
    return units if durations else Units(units.ids)
