"""Tiny random backbones of several families."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from cslm.batches.packed_row import PackedRow

FAMILIES = {
    "llama": {"rope_theta": 50_000.0, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}},
    "qwen2": {"rope_theta": 1_000_000.0},
    "qwen3": {"rope_theta": 1_000_000.0, "head_dim": 16},
    "gemma3_text": {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
}  # fmt: skip


def tiny_model(
    family: str = "qwen3", tied: bool = True, attention: str = "sdpa", vocab_size: int = 64
) -> PreTrainedModel:
    """Two layers, 32 wide, two query heads on one key head."""
    config = AutoConfig.for_model(
        family, vocab_size=vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=tied, max_position_embeddings=1024, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, **FAMILIES[family],
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        for parameter in model.parameters():  # the default is so small that every model predicts the same
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def packed_row(lengths: list[int], vocab_size: int = 64, seed: int = 0, trained: float = 0.7) -> PackedRow:
    """A micro-batch of random documents, of whose tokens a share is trained."""
    generator = torch.Generator().manual_seed(seed)
    boundaries = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    ids = torch.randint(3, vocab_size, (1, sum(lengths)), generator=generator)
    learnt = torch.rand(ids.shape[1], generator=generator) < trained
    learnt[boundaries[:-1].long()] = False
    targets = learnt.nonzero().flatten()
    return PackedRow(
        input_ids=ids,
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        boundaries=tuple(boundaries.tolist()),
        target_positions=targets - 1,
        target_ids=ids[0, targets],
        target_weights=torch.ones(len(targets)),
        target_groups=targets % 3,
    )
