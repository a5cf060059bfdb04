"""Units of a small Mimi, text models to begin textless ones from, and the configuration of a textless run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from cslm.codecs.families import load_codec
from cslm.codecs.units import Units, merge_repeats
from cslm.model.checkpoint import save_checkpoint
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.units.shards import StoreRow
from cslm.units.store import write_store
from tests.worlds.architectures import architecture
from tests.worlds.flat_training import grouped
from tests.worlds.mimi_models import save_mimi, write_card

NUM_UNITS = 64
FRAME_RATE_HZ = 12.5


def make_textless_world(root: Path) -> Path:
    """A card ``tokenizer/card.yaml`` that has a way back to sound, and a store ``units`` in two languages."""
    card = write_card(save_mimi(root / "mimi"), root / "tokenizer", 1)
    generator = np.random.default_rng(0)
    rows = [row(language, number, generator) for number in range(30) for language in ("en", "fr")]
    facts = {"card": "small", "codebook_sizes": (NUM_UNITS,), "frame_rate_hz": FRAME_RATE_HZ}
    write_store(root / "units", rows, fingerprint=load_codec(card).fingerprint, **facts)
    return root


def row(language: str, number: int, generator: np.random.Generator) -> StoreRow:
    """An utterance in which every unit has one that mostly follows it, so that there is something to learn."""
    frames = [int(generator.integers(NUM_UNITS))]
    for _ in range(int(generator.integers(12, 24))):
        drawn = generator.random()
        frames.append(frames[-1] if drawn < 0.3 else (frames[-1] * 5 + 3) % NUM_UNITS if drawn < 0.9 else 7)
    units = merge_repeats(Units(np.array(frames, dtype=np.int64)[:, None]))
    return StoreRow(f"{language}-{number}", language, "", len(frames) / FRAME_RATE_HZ, units, "voice", str(number))


def save_text_model(folder: Path, family: str, **changes: Any) -> Path:
    """A text model of random weights with a tokenizer of its own, and rows to spare."""
    tokenizer = train_text_tokenizer(["one two three four"] * 9, 320, folder.parent / f"{folder.name}_text")
    shape = architecture(family, **{"vocab_size": len(tokenizer) + 9, "pad_token_id": 0, "eos_token_id": 2} | changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(shape)
    save_checkpoint(model, tokenizer, folder)
    return folder


def textless_config(root: Path, output: str, model: dict[str, Any], **training: object) -> dict[str, Any]:
    """Single utterances, and sentences in languages that are drawn for them."""
    settings = {"max_tokens": 1200, "tokens_per_step": 300, "tokens_per_micro_batch": 160, "max_length": 128,
                "learning_rate": 0.003, "log_every": 1, "num_threads": 1}  # fmt: skip
    return {
        "data_root": str(root),
        "output": output,
        "model": {"textless": True, **model},
        "tokenizer_card": "tokenizer/card.yaml",
        "sources": {
            "alone": {"task": "speech", "store": "units", "weight": 1.0, "joined_tokens": 0},
            "mixed": {"task": "code_switched", "store": "units", "weight": 1.0, "num_sentences": 3},
        },
        "training": grouped(**settings | training),
    }


SCRATCH = {
    "architecture": {
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256,
    }
}  # fmt: skip
"""A llama of two layers."""
