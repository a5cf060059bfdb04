"""Tiny models of many architectures by their transformers name, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

_SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
_OLD = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
FIELDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 16},
    "phi3": {"pad_token_id": 0},
    "gemma2": {"head_dim": 16},
    "mixtral": {"num_local_experts": 2, "num_experts_per_tok": 1},
    "gpt_oss": {
        "head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 16,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "falcon": {},
    "bloom": {"n_layer": 2, "n_head": 2},
    "mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "expand": 2},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "recurrent_gemma": {
        "lru_width": 32, "head_dim": 16, "attention_window_size": 16, "block_types": ["recurrent", "attention"],
    },
    "gpt2": {},
}  # fmt: skip


def architecture(name: str, **changes: Any) -> PretrainedConfig:
    """The configuration of a tiny model."""
    sizes = _OLD if name == "gpt2" else _SIZES
    return AutoConfig.for_model(name, **{**sizes, **FIELDS.get(name, {}), **changes})


def random_model(name: str, attention: str = "document", **changes: Any) -> PreTrainedModel:
    """The model, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(architecture(name, **changes), attn_implementation=attention)
    return model.train()
