"""The fingerprint of a speech tokenizer: what travels from card to store to vocabulary to checkpoint.

It hashes the tensors and the parameters that decide the units, never a file, a path or the order of a dictionary.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.errors import UserError

UNKNOWN = "unknown"  # of stores and checkpoints made by others, until the user names a card


def fingerprint(tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Any]) -> str:
    """``sha256:`` and 64 hexadecimal digits of named tensors (values, shapes, types) and of plain parameters."""
    digest = hashlib.sha256(canonical_json(parameters).encode("utf-8"))
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        tensor = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False)
        digest.update(f"\n{name} {tensor.dtype.str} {list(tensor.shape)}\n".encode())
        digest.update(tensor.tobytes())
    return f"sha256:{digest.hexdigest()}"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, in which 25 and 25.0 are one number and a tuple is a list."""
    return json.dumps(_canonical(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def check_fingerprint(expected: str, found: str, expected_where: str, found_where: str) -> None:
    """Make sure that two parts were made with one speech tokenizer; ``unknown`` on either side only warns.

    Raises:
        UserError: both are known and they differ.
    """
    if UNKNOWN in (expected, found):
        where = found_where if found == UNKNOWN else expected_where
        warnings.warn(f"{where} does not say which speech tokenizer made its units: name its card", stacklevel=2)
    elif expected != found:
        raise UserError(
            f"{found_where} was made with another speech tokenizer ({found}) than {expected_where} ({expected}): "
            "use the two parts that belong together, or tokenize again"
        )


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
