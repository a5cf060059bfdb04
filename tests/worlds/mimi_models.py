"""A small Mimi with random weights, saved as users have it, and cards of it."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from transformers import MimiConfig, MimiModel

from cslm.codecs.card import Card
from cslm.codecs.mimi import Mimi
from cslm.encoders.runtime import Runtime
from tests.worlds.small_corpus import glide

RATE_HZ = 24000
SMALL = {
    "hidden_size": 32,
    "num_filters": 4,
    "codebook_size": 64,
    "codebook_dim": 16,
    "vector_quantization_hidden_dimension": 16,
    "num_quantizers": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 48,
    "upsample_groups": 32,
}

_NO_CARD = Card("small", "mimi", RATE_HZ, 12.5, (64,) * 4, {})


def save_mimi(folder: Path) -> Path:
    """Random weights, large enough that frames differ."""
    model = MimiModel(MimiConfig(**SMALL))
    state, generator = model.state_dict(), torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if name.endswith("embed_sum"):
            tensor.normal_(0, 0.5, generator=generator)
        elif name.endswith("cluster_usage"):
            tensor.fill_(1)
        elif name.endswith("weight") and tensor.ndim == 3:
            tensor.normal_(0, 1.5 / (tensor.shape[1] * tensor.shape[2]) ** 0.5, generator=generator)
    latents = Mimi(_NO_CARD, model.eval(), 4, Runtime())._latents([glide(9, 6.0, RATE_HZ)])[0]
    with torch.no_grad():  # semantic codes lie where latents do
        semantic = model.quantizer.semantic_residual_vector_quantizer
        semantic.layers[0].codebook.embed_sum.copy_(semantic.input_proj(latents[None])[0].T[:64])
    model.save_pretrained(folder)
    return folder


def write_card(folder: Path, target: Path, num_codebooks: int = 4, **changes: object) -> Path:
    """``target/card.yaml`` of the model in ``folder``."""
    values = {
        "name": "small",
        "family": "mimi",
        "sample_rate_hz": RATE_HZ,
        "frame_rate_hz": 12.5,
        "codebook_sizes": [64] * num_codebooks,
        "parameters": {"num_codebooks": num_codebooks, "version": 1, "channels": "mean"},
        "weights": {"source": str(folder)},
        **changes,
    }
    target.mkdir(exist_ok=True)
    (target / "card.yaml").write_text(yaml.safe_dump(values))
    return target / "card.yaml"
