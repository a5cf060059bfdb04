"""LoRA: small matrices beside frozen ones (Hu et al. 2021, arXiv 2106.09685), put in by peft, merged when they leave.

The layers of ``peft`` stand in the backbone itself, without a wrapper around it: embedding, decoder and head are found
where they always are. What a run writes is merged, so nobody who opens it needs peft.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from cslm.errors import MissingExtraError, UserError
from cslm.model.extension import embedding_weights
from cslm.ranges import Range, check_numbers

TRAINED_ROWS = ("new", "all", "none")
_ADAPTER = "default"


@dataclass
class LoraOptions:
    """What learns beside a frozen decoder."""

    rank: int = 16
    """inner width of the added matrices"""
    alpha: int = 32
    """the added product counts alpha / rank times"""
    dropout: float = 0.0
    """share of the inputs of the added matrices that is left out in training"""
    target_modules: list[str] | None = None
    """names of the linear layers that get them (q_proj, ...); null takes all but the head"""
    train_rows: str = "new"
    """rows of embedding and head that learn: new (units, markers, padding; text rows keep their bits), all, none"""

    def check(self) -> None:
        """Check what types cannot; not when it is made, since a parser may make it in trying a type.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "lora", rank=Range(least=1), alpha=Range(least=1), dropout=Range(least=0, below=1))
        if self.target_modules is not None and not self.target_modules:
            raise UserError(
                "lora.target_modules is empty: name linear layers, or leave it out to take all but the head"
            )
        if self.train_rows not in TRAINED_ROWS:
            raise UserError(f"lora.train_rows is {self.train_rows!r}: choose one of {', '.join(TRAINED_ROWS)}")


def add_lora(model: PreTrainedModel, options: LoraOptions, seed: int = 0) -> PreTrainedModel:
    """Put LoRA into the linear layers of ``model``, in place, and freeze what else it has but rows that learn.

    The outputs stay what they were until the first step. Do this after :func:`~cslm.model.extension.extend_model` and
    before the layers get other forwards. Which rows of a matrix learn is the training loop's affair: embedding and
    head are trainable here unless ``train_rows`` is ``none``.

    Raises:
        MissingExtraError: peft is not installed.
        UserError: a name in ``target_modules`` that no linear layer has, or the head's.
    """
    try:
        import peft
    except ImportError:
        raise MissingExtraError("peft", "lora", "the section lora") from None
    _check_targets(model, options)
    settings = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules or "all-linear",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(settings, model, adapter_name=_ADAPTER)
    for weight in embedding_weights(model) if options.train_rows != "none" else ():
        weight.requires_grad_(weight.dim() == 2 or options.train_rows == "all")
    return model


@contextlib.contextmanager
def without_lora(model: nn.Module) -> Iterator[None]:
    """In the block a model computes as its frozen base does; what learns is left as it is."""
    layers: list[Any] = [layer for layer in model.modules() if hasattr(layer, "lora_A")]
    for layer in layers:
        layer._disable_adapters = True  # peft's own switch would change requires_grad too
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def merge_lora(model: PreTrainedModel, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state ``weights`` of a model with LoRA as that of the plain model: products added, names as before.

    Sums are taken in float32 and rounded once. A model without LoRA gives back what it gets.
    """
    merged = {_plain(name): value for name, value in weights.items() if ".lora_" not in name}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            base = merged[f"{name}.weight"]
            up, down = (weights[f"{name}.{part}.{_ADAPTER}.weight"].float() for part in ("lora_B", "lora_A"))
            product = module.scaling[_ADAPTER] * (up @ down)
            added = product.T if module.fan_in_fan_out else product
            merged[f"{name}.weight"] = (base.float() + added).to(base.dtype)
    return merged


def _plain(name: str) -> str:
    return name.replace(".base_layer.", ".")


def _check_targets(model: PreTrainedModel, options: LoraOptions) -> None:
    head: Any = model.get_output_embeddings()
    layers: dict[str, nn.Module] = dict(model.named_modules())
    known = {name for name, layer in layers.items() if isinstance(layer, nn.Linear | Conv1D) and layer is not head}
    for target in options.target_modules or ():
        if not any(name == target or name.endswith(f".{target}") for name in known):
            choices = ", ".join(sorted({name.rpartition(".")[2] for name in known}))
            raise UserError(f"lora.target_modules: no linear layer is called {target!r}: choose from {choices}")
