"""Train discrete-unit speech language models: speech answered with speech, across languages."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cslm.generation.modeling import CSLMForCausalLM
    from cslm.generation.processor import CSLMProcessor

__version__ = "0.1.0"
__all__ = ["CSLMForCausalLM", "CSLMProcessor", "__version__"]

_LAZY = {
    "CSLMForCausalLM": "cslm.generation.modeling",
    "CSLMProcessor": "cslm.generation.processor",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'cslm' has no attribute {name!r}")
