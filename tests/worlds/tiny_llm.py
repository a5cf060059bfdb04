"""A language model small enough for tests, as users have one: a folder of transformers with a chat template."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import train_text_tokenizer

SENTENCES = [
    "Anna bakes bread in the village every morning.",
    "Peter plants tomatoes behind the old mill.",
    "The river freezes when the winter is long.",
    "Maria reads a letter from her brother.",
    "The teacher opens a window and everybody sings.",
    "Nobody knows where the grey cat sleeps.",
]


def make_llm(folder: Path, seed: int = 0, width: int = 32, texts: tuple[str, ...] = ()) -> Path:
    """An untrained llama of two layers with a text tokenizer and a template.

    Its weights are large enough that different prompts have different answers.
    """
    tokenizer = train_text_tokenizer([*SENTENCES, *texts], 400, folder.parent / f"{folder.name}_text")
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=width, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    SequenceFormat(tokenizer)  # gives it the default template, where it has none
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
