"""The part of a source that is trained, and the part that is held out, by what its documents are called.

What is held out hangs on what a document is called alone: of its ``document`` (sentences of one story), else of its
``group`` (utterances that say one thing), else of its ``id``, a hash is taken, and the lowest share of hashes is held
out. So what two sources have in common is held out in both of them, and what is added to a corpus moves nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Part(NamedTuple):
    """The part of its documents that a source is opened for."""

    share: float = 0.0
    """of the documents that are held out, from 0 to below 1"""
    held_out: bool = False
    """whether this is the part that is held out, or that which is trained"""

    def keeps(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which documents belong to the part, ``(documents,)``, from the :func:`name_hash` of their names."""
        return (hashes < np.uint64(self.share * 2.0**64)) == self.held_out


def name_hash(name: str) -> int:
    """64 bits of a name, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def document_name(document: Mapping[str, Any]) -> str:
    """What a document is called: its group, its id, or, where it has neither, all that it says."""
    for key in ("group", "id"):
        if isinstance(document.get(key), str | int):
            return str(document[key])
    return json.dumps(document, sort_keys=True, ensure_ascii=False)
