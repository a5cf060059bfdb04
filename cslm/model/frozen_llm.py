"""A language model that stays as it is: opened whole, with how its conversations are written, and a hash of each."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from cslm.errors import UserError, first_line
from cslm.files.looked_for import looked_for
from cslm.model.loading import load_whole
from cslm.sequences.sequence_format import SequenceFormat

LANGUAGE_MODEL = "language model"
TEMPLATE = "template"
"""what messages and headers of stores call the two hashes"""


@dataclass(frozen=True)
class FrozenLLM:
    """A frozen language model, its tokenizer and its conversations."""

    model: PreTrainedModel
    tokenizer: Any
    form: SequenceFormat
    hashes: dict[str, str]
    """of its tensors, and of tokenizer and chat template: never of files or paths"""

    @property
    def end_ids(self) -> frozenset[int]:
        """What ends a reply: the template's end of a turn, the end of text, and what its configuration names."""
        ends = self.model.generation_config.eos_token_id if self.model.generation_config is not None else None
        named = ends if isinstance(ends, list) else [ends]
        return frozenset({*self.form.end_ids, *(int(token_id) for token_id in named if token_id is not None)})


def open_frozen_llm(
    place: str | os.PathLike[str],
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
    attention: str | None = None,
) -> FrozenLLM:
    """A causal language model of transformers, by folder or Hub id.

    The hash of its weights is that of what is stored, whatever they are computed with.

    Args:
        dtype: what it computes with: auto (as stored), float32, bfloat16, float16.
        attention: of transformers, or ``document``; None is the model's own.

    Raises:
        UserError: it cannot be read, or not all of it is there.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
        chosen = {} if attention is None else {"attn_implementation": attention}
        model: Any = load_whole(AutoModelForCausalLM, place, revision=revision, dtype="auto", **chosen)
        model = model.eval().requires_grad_(False)
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(
            f"the language model {place} cannot be opened: {first_line(error)}{looked_for(place)}"
        ) from None
    form = SequenceFormat(tokenizer)
    hashes = {LANGUAGE_MODEL: weights_hash(model), TEMPLATE: template_hash(form)}
    wanted = model.dtype if dtype == "auto" else getattr(torch, dtype)
    return FrozenLLM(model.to(device, wanted), tokenizer, form, hashes)


def check_dtype(dtype: str) -> None:
    """Make sure that weights can be of this type.

    Raises:
        UserError: they cannot.
    """
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise UserError(f"--dtype is {dtype!r}: give auto, float32, bfloat16 or float16")


def weights_hash(module: nn.Module) -> str:
    """``sha256:...`` of the names, shapes, types and values of all tensors, and of none of their files."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        content = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(content.view(torch.uint8).numpy().data if content.numel() else b"")
    return f"sha256:{digest.hexdigest()}"


def template_hash(form: SequenceFormat) -> str:
    """``sha256:...`` of how conversations become ids: the text tokenizer, and what its template writes."""
    pieces = form.chat.pieces(("user", "assistant"))
    content = f"{form.encoder.identity} {pieces!r}"
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
