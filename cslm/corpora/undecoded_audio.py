"""An audio column of a Hugging Face data set, taken as it is encoded; imports datasets, so imported where used."""

from __future__ import annotations

from typing import Any

import datasets


class UndecodedAudio(datasets.Audio):
    """Audio as bytes or a path. To pass it on, even undecoded, ``datasets.Audio`` wants torchcodec."""

    def encode_example(self, value: Any) -> Any:
        """Bytes and path of what a data set holds; numbers stay numbers."""
        if isinstance(value, bytes | bytearray):
            return {"bytes": bytes(value), "path": None}
        return value if isinstance(value, dict) else {"bytes": None, "path": str(value)}


def undecoded(rows: Any) -> Any:
    """The rows of a stream, with nothing decoded."""
    audio = [name for name, feature in (rows.features or {}).items() if isinstance(feature, datasets.Audio)]
    for name in audio:
        rows = rows.cast_column(name, UndecodedAudio(decode=False))
    return rows
