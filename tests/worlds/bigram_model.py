"""Checkpoints whose next id depends on the last one alone, by a table that a test writes by hand."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cslm import CSLMForCausalLM
from cslm.codecs.card import load_card
from cslm.model.checkpoint import save_checkpoint
from cslm.model.extension import end_documents_with, replace_text_rows
from cslm.sequences.vocabulary import from_tokenizer, textless_tokenizer
from tests.worlds.tiny_checkpoint import NUM_UNITS


def make_bigram(checkpoint: Path, folder: Path, likely: Mapping[int, int], logit: float = 4.0) -> Path:
    """A checkpoint with other weights: after unit ``a`` unit ``likely[a]`` has a higher logit than all others.

    Attention and feed-forward layers add nothing; embeddings of units are rows of the identity, all others are 0. So
    ``-log p(b | a)`` is one number where ``likely[a] == b`` and another, larger one everywhere else.
    """
    shutil.copytree(checkpoint, folder)
    model: Any = CSLMForCausalLM.from_pretrained(folder)
    vocabulary = model.processor.vocabulary
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings, head = model.model.embed_tokens.weight.zero_(), model.lm_head.weight.zero_()
        width = embeddings.shape[1]
        named = range(vocabulary.num_units)
        assert len(named) <= width
        for unit in named:
            embeddings[vocabulary.unit_id(unit), unit] = 1.0
        for before, after in likely.items():
            head[vocabulary.unit_id(after), before] = logit / width**0.5  # the last norm makes rows as long as that
    model.save_pretrained(folder)
    return folder


def make_textless(folder: Path, card: Path, merge_repeats: bool = False) -> Path:
    """A textless checkpoint of 16 units and random weights."""
    tokenizer = textless_tokenizer((NUM_UNITS,), merge_repeats)
    vocabulary = from_tokenizer(tokenizer)
    config = AutoConfig.for_model(
        "llama", hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, vocab_size=100, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    replace_text_rows(model, vocabulary, 60)
    end_documents_with(model, len(tokenizer) - 1)
    section = {**vocabulary.to_dict(), "fingerprint": load_card(card).fingerprint, "vocabulary_size": vocabulary.size}
    save_checkpoint(model, tokenizer, folder, speech=section, card=card)
    return folder
