"""A world of a few recordings: a manifest, spoken questions with written answers, and a way to keep places for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.sequences.hearing import Hearing
from tests.worlds.flat_training import grouped
from tests.worlds.small_corpus import glide

WORDS = {"en": ["anna", "bob", "works", "as", "a", "baker", "likes", "red", "music"], "de": ["anna", "mag", "brot"]}
NUM_RECORDINGS = 14
PLACEHOLDER_ID = 9999


def hearing(most_sec: float | None = None) -> Hearing:
    """Fifty frames a second, one vector for four."""

    def fault(num_samples: int) -> str | None:
        if most_sec is not None and num_samples > most_sec * 16000:
            return f"too long: {num_samples / 16000:.1f} s, long_audio.longest_sec is {most_sec:g}"
        return None

    return Hearing(PLACEHOLDER_ID, 16000, 50.0, lambda n: -(-n // 320), lambda n: max(1, -(-n // 4)), fault)


def write_heard_world(root: Path, broken: bool = False) -> Path:
    """``manifest.jsonl``, ``dialogues.jsonl`` and ``texts.jsonl``; the last file may be no audio at all."""
    generator = np.random.default_rng(0)
    utterances, dialogues, texts = [], [], []
    for index in range(NUM_RECORDINGS):
        language = "de" if index % 3 == 2 else "en"
        name, rate_hz = f"audio/{index:02d}.wav", 8000 if index % 4 == 3 else 16000
        save_waveform(root / name, glide(index, 0.3 + 0.13 * (index % 7), rate_hz), rate_hz)
        text = " ".join(generator.choice(WORDS[language], 4).tolist())
        utterances.append(Utterance(f"u{index}", name, text, language, speaker=f"voice{index % 2}", group=f"g{index}"))
        answer = " ".join(generator.choice(WORDS["en"], 5).tolist())
        dialogue = {"id": f"g{index}", "question": f"u{index}", "question_language": language, "question_text": text}
        dialogue |= {"answer_language": "en", "answer_text": answer, "core_language": "en"}
        dialogue |= {"core_question": text.upper(), "core_answer": answer.upper()}
        dialogues.append(dialogue | ({"instruction": "Answer briefly."} if index % 2 else {}))
        texts.append({"id": f"t{index}", "language": "en", "text": f"{text} {answer}"})
    if broken:
        (root / utterances[-1].audio).write_bytes(b"no audio at all")
    write_manifest(utterances, root / "manifest.jsonl")
    for file, rows in (("dialogues.jsonl", dialogues), ("texts.jsonl", texts)):
        (root / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def prompt_config(root: Path, llm: Path, whisper: Path, **training: object) -> dict:
    """A connector between a small Whisper and a small language model, on recordings and on text."""
    settings = {"max_steps": 4, "tokens_per_step": 240, "tokens_per_micro_batch": 130, "max_length": 120,
                "learning_rate": 0.01, "log_every": 1, "num_threads": 1, "save_every": 2}  # fmt: skip
    return {
        "data_root": str(root),
        "output": "prompt",
        "model": {"base": str(llm)},
        "encoder": {"whisper": {"model": str(whisper)}},
        "connector": {"stacked": {"stride": 4}},
        "losses": {"cross_entropy": {}},
        "sources": {
            "asr": {"task": "audio_asr", "manifest": "manifest.jsonl", "weight": 2},
            "dialogue": {"task": "audio_dialogue", "manifest": "manifest.jsonl", "documents": "dialogues.jsonl",
                         "weight": 1},
            "text": {"task": "text", "documents": "texts.jsonl", "weight": 1},
        },
        "training": grouped(**settings | training),
    }  # fmt: skip
