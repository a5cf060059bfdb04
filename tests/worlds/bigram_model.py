"""A checkpoint whose next id depends on the last one alone, by a table that a test writes by hand."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cslm import CSLMForCausalLM


def make_bigram(checkpoint: Path, folder: Path, likely: Mapping[int, int], logit: float = 4.0) -> Path:
    """The tiny checkpoint with other weights: after unit ``a`` unit ``likely[a]`` has a higher logit than all others.

    Attention and feed-forward layers add nothing; embeddings of units and markers are rows of the identity, those of
    text are 0. So ``-log p(b | a)`` is one number where ``likely[a] == b`` and another, larger one everywhere else.
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
