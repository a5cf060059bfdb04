"""Recognizers that never met the model, by name."""

from __future__ import annotations

import importlib
from typing import Any

from cslm.errors import UserError

# Ears that need no model of ours: name -> "module:Class". Imported only when used.
EARS = {
    "pocketsphinx": "cslm.evaluation.pocketsphinx_ear:PocketSphinxRecognizer",
}


def ear_class(name: str) -> Any:
    """The class of an ear, imported now.

    Raises:
        UserError: no ear of that name, or its package is missing.
    """
    if name not in EARS:
        raise UserError(f"ears.other.recognizer is {name!r}: choose one of {', '.join(sorted(EARS))}")
    module, _, attribute = EARS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
