"""The causal language model that speech is added to: opened from a folder or the Hub, or made from scratch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from cslm.errors import UserError
from cslm.model.checkpoint import check_checkpoint
from cslm.model.document_attention import DOCUMENT_ATTENTION
from cslm.model.loading import load_whole

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class ModelConfig:
    """The backbone: either ``base`` or ``architecture``."""

    base: str | None = None
    """folder or Hub id of a causal language model to start from; null makes one from scratch"""
    revision: str | None = None
    """branch, tag or commit of a base on the Hub; null takes its newest"""
    architecture: dict[str, Any] | None = None
    """from scratch: model_type (llama, qwen3, gemma3_text, ...) and the fields of its transformers configuration"""
    dtype: str = "float32"
    """what the weights are loaded as: float32 or bfloat16; training with precision bf16 keeps a float32 copy"""
    attention: str = DOCUMENT_ATTENTION
    """document (each packed document alone), or an attention of transformers: sdpa, eager, flash_attention_2, ..."""
    textless: bool = False
    """no text: of a base all but the rows of text is kept, and the units of tokenizer_card take their place"""
    merge_repeats: bool | None = None
    """of a textless model: whether equal units in a row are one (their durations are dropped), or each frame is
    written; null as its textless base does, else each frame; beside text they are one"""
    unused_tensors: list[str] = field(default_factory=list)
    """patterns (mtp.*) of tensors in the files of base that this model has no place for and that may be left out"""

    def check(self) -> None:
        """Check what types cannot; not when it is made, for a section of a configuration may still be filled.

        Raises:
            UserError: neither or both of base and architecture, or a value that is none of the choices, by name.
        """
        if (self.base is None) == (self.architecture is None):
            raise UserError("model: give either base (a checkpoint) or architecture (from scratch), not both")
        if self.base is not None and not self.base.strip():
            raise UserError("model.base is empty: give the folder or the Hub id of a checkpoint")
        if self.revision is not None and self.base is None:
            raise UserError(f"model.revision is {self.revision!r}, and there is no model.base on the Hub: leave it out")
        if self.merge_repeats is not None and not self.textless:
            raise UserError(
                f"model.merge_repeats is {self.merge_repeats}, which only a textless model reads (beside text repeats "
                "are merged): leave it out, or set model.textless true"
            )
        if self.dtype not in DTYPES:
            raise UserError(f"model.dtype is {self.dtype!r}: choose one of {', '.join(DTYPES)}")


def load_text_tokenizer(folder: str) -> PreTrainedTokenizerBase:
    """The text tokenizer of a checkpoint folder or Hub id.

    Raises:
        UserError: there is none.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no text tokenizer can be loaded ({_first_line(error)})") from error
    return tokenizer


def build_model(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> PreTrainedModel:
    """The backbone in training mode, with the attention of the configuration.

    From scratch it has a row for each id of ``tokenizer``, rounded up to a multiple of 64, and weights drawn from
    ``seed``; the random state of the caller is left alone.

    Raises:
        UserError: as :meth:`ModelConfig.check`, or a model that transformers cannot make.
    """
    config.check()
    if config.base is not None:
        model = _load(config.base, config)
    else:
        model = _from_scratch(config, tokenizer, seed)
    return model.train()


def model_shape(config: ModelConfig) -> PretrainedConfig:
    """The configuration that ``base`` or ``architecture`` stands for, without any weights.

    Raises:
        UserError: as :func:`build_model`.
    """
    config.check()
    if config.base is None:
        return _architecture(dict(config.architecture or {}))
    try:
        shape: PretrainedConfig = AutoConfig.from_pretrained(config.base)
    except (OSError, ValueError) as error:
        raise UserError(f"{config.base}: transformers cannot read its configuration ({_first_line(error)})") from error
    return shape


def model_of_shape(shape: PretrainedConfig, attention: str, dtype: torch.dtype) -> PreTrainedModel:
    """A model of this shape in training mode, on the device of the context (``meta``: without memory).

    Raises:
        UserError: one that transformers cannot make.
    """
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(shape, dtype=dtype, attn_implementation=attention)
    except KeyError as error:
        raise _no_such_attention(shape, attention, error) from error
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"model ({shape.model_type}): {_first_line(error)}") from error
    return model.train()


def _no_such_attention(shape: PretrainedConfig, attention: str, error: KeyError) -> UserError:
    """What is told where an architecture keeps a table of attentions of its own, and this one is not in it."""
    if error.args != (attention,):
        return UserError(f"model ({shape.model_type}): transformers cannot make it (KeyError: {error})")
    found = []
    for other in ("eager", "sdpa"):
        with contextlib.suppress(KeyError, ValueError, TypeError, ImportError), torch.device("meta"):
            AutoModelForCausalLM.from_config(shape, attn_implementation=other)
            found.append(other)
    advice = f"set model.attention {' or '.join(found)}" if found else "choose another base"
    return UserError(f"model ({shape.model_type}) has no attention {attention}: {advice}")


def _architecture(fields: dict[str, Any]) -> PretrainedConfig:
    model_type = fields.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        raise UserError(f"model.architecture.model_type is {model_type!r}: transformers has no such model")
    try:
        return AutoConfig.for_model(model_type, **fields)
    except (ValueError, TypeError) as error:
        raise UserError(f"model.architecture ({model_type}): {_first_line(error)}") from error


def _load(base: str, config: ModelConfig) -> PreTrainedModel:
    if Path(base).is_dir():
        check_checkpoint(Path(base))
    try:
        return load_whole(
            AutoModelForCausalLM,
            base,
            unused=config.unused_tensors,
            dtype=DTYPES[config.dtype],
            attn_implementation=config.attention,
        )
    except UserError:
        raise
    except KeyError as error:
        raise _no_such_attention(AutoConfig.from_pretrained(base), config.attention, error) from error
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{base}: transformers cannot load a causal language model ({_first_line(error)})") from error


def _from_scratch(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    fields = dict(config.architecture or {})
    fields["vocab_size"] = -(-len(tokenizer) // 64) * 64
    fields.setdefault("pad_token_id", None if config.textless else tokenizer.pad_token_id)
    fields.setdefault("bos_token_id", tokenizer.bos_token_id)
    fields.setdefault("eos_token_id", tokenizer.eos_token_id)
    shape = _architecture(fields)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_of_shape(shape, config.attention, DTYPES[config.dtype])


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
