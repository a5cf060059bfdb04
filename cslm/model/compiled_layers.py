"""The decoder layers of a backbone through ``torch.compile``.

Each layer is compiled by itself, in place: the names of weights and what a checkpoint holds do not change. The number
of tokens of a row is left open, so rows of any length run the same code. Attention inside documents stays as it is: it
loops over groups whose number changes from row to row, and each number would be compiled anew.
"""

from __future__ import annotations

import os
import shutil

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from cslm.errors import UserError
from cslm.model.document_attention import DOCUMENT_ATTENTION, document_attention

_COMPILERS = ("g++", "clang++")


def compile_layers(model: PreTrainedModel, backend: str = "inductor") -> int:
    """Compile each decoder layer of ``model`` in place, at its first use; returns how many there are.

    Args:
        backend: of ``torch.compile``; ``inductor`` writes code for the device, on a CPU with a C++ compiler.

    Raises:
        UserError: no C++ compiler for a CPU, or a backbone whose layers are not known as such to transformers.
    """
    if backend == "inductor" and not torch.cuda.is_available() and cpp_compiler() is None:
        raise UserError(
            f"training.device.compile needs a C++ compiler on a CPU: install {' or '.join(_COMPILERS)}, or set CXX"
        )
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(f"training.device.compile: {type(model).__name__} has no decoder layers that can be told apart")
    AttentionInterface.register(DOCUMENT_ATTENTION, torch.compiler.disable(document_attention))
    for layer in layers:
        layer.compile(backend=backend, dynamic=True)
    return len(layers)


def cpp_compiler() -> str | None:
    """The C++ compiler of this machine, or None."""
    names = (os.environ["CXX"],) if os.environ.get("CXX") else _COMPILERS
    return next((path for name in names if (path := shutil.which(name))), None)
