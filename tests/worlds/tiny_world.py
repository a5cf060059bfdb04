"""A world of a few sentences with made-up units, for runs that take a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from cslm.codecs.card import Card, save_card
from cslm.codecs.units import Units
from cslm.units.shards import StoreRow
from cslm.units.store import write_store
from tests.worlds.flat_training import grouped

NUM_UNITS = 12
FINGERPRINT = "sha256:" + "1" * 64
ENGLISH = "anna bob works as a baker in the village and likes red green music , today it is rainy"
CHINESE = "安娜是村里的面包师，鲍勃喜欢红色音乐今天下雨"
WORDS = {"en": ENGLISH.split(" "), "zh": list(CHINESE)}


def make_world(root: Path, fingerprint: str = FINGERPRINT) -> Path:
    """Write ``texts.jsonl``, ``translations.jsonl``, a unit store ``units`` and a card ``tokenizer/card.yaml``."""
    generator = np.random.default_rng(0)
    sentences = {language: [_sentence(language, generator) for _ in range(40)] for language in WORDS}
    root.mkdir(parents=True, exist_ok=True)
    _write(root / "texts.jsonl", [{"id": f"{language}-{i}", "language": language, "text": text}
                                  for language in WORDS for i, text in enumerate(sentences[language])])  # fmt: skip
    pairs = zip(sentences["en"], sentences["zh"], strict=True)
    _write(root / "translations.jsonl", [
        {"id": str(i), "source_language": "en", "target_language": "zh", "source": en, "target": zh}
        for i, (en, zh) in enumerate(pairs)
    ])  # fmt: skip
    rows = [_row(language, i, text, generator) for language in WORDS for i, text in enumerate(sentences[language])]
    facts = {"fingerprint": fingerprint, "card": "tiny", "codebook_sizes": (NUM_UNITS,), "frame_rate_hz": 25.0}
    write_store(root / "units", rows, **facts)
    card = Card("tiny", "mel_kmeans", 16_000, 25.0, (NUM_UNITS,), {}, fingerprint=fingerprint)
    save_card(card, root / "tokenizer" / "card.yaml", {"centroids": np.zeros((NUM_UNITS, 2), dtype=np.float32)})
    return root


def text_lm_config(root: Path, **training: object) -> dict:
    """A text model from scratch."""
    return {
        "data_root": str(root),
        "output": "text_lm",
        "model": {"architecture": {"model_type": "qwen3", "hidden_size": 32, "intermediate_size": 64, "head_dim": 16,
                                   "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
                                   "tie_word_embeddings": True, "rope_theta": 50_000.0}},
        "text_tokenizer": {"vocab_size": 420, "texts": ["texts.jsonl"]},
        "sources": {"text": {"task": "text", "documents": "texts.jsonl", "weight": 1.0}},
        "training": _training(**training),
    }  # fmt: skip


def pretrain_config(root: Path, **training: object) -> dict:
    """Continual pre-training of ``text_lm`` on units and text."""
    return {
        "data_root": str(root),
        "output": "pretrain",
        "model": {"base": "text_lm"},
        "tokenizer_card": "tokenizer/card.yaml",
        "sources": {
            "asr": {"task": "asr", "store": "units", "weight": 1.0},
            "tts": {"task": "tts", "store": "units", "weight": 1.0},
            "mt": {"task": "translation", "documents": "translations.jsonl", "weight": 0.5},
        },
        "training": _training(**training),
    }


def write_config(path: Path, config: dict) -> Path:
    """``config`` as YAML."""
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


def _training(**changes: object) -> dict:
    settings = {"max_tokens": 1200, "tokens_per_step": 300, "tokens_per_micro_batch": 160, "max_length": 128,
                "learning_rate": 0.003, "log_every": 1, "num_threads": 1}  # fmt: skip
    return grouped(**settings | changes)


def _sentence(language: str, generator: np.random.Generator) -> str:
    words = generator.choice(WORDS[language], size=int(generator.integers(4, 9)))
    return (" " if language == "en" else "").join(words.tolist())


def _row(language: str, index: int, text: str, generator: np.random.Generator) -> StoreRow:
    num = int(generator.integers(6, 20))
    ids = np.cumsum(generator.integers(1, NUM_UNITS, size=num)) % NUM_UNITS
    units = Units(ids.astype(np.int64)[:, None], generator.integers(1, 4, size=num).astype(np.int64))
    return StoreRow(f"{language}-{index}", language, text, num / 12.5, units, "voice", str(index))


def _write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
