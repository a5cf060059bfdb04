"""How long a document may be for a backbone: positions that it has, and what its rotary scaling makes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from transformers import PretrainedConfig

from cslm.errors import UserError

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "context_length")
_STRETCHING = ("linear", "yarn", "llama3", "longrope")
"""kinds of scaling that make a context longer than the one that was learnt, by a factor"""


class _Rope(NamedTuple):
    """Rotary scaling of a whole model."""

    kind: str
    factor: float
    original: int
    """positions without scaling"""


def most_positions(shape: PretrainedConfig) -> int | None:
    """Positions of a backbone, scaling included; None where it has no end (ALiBi, state-space layers)."""
    text = shape.get_text_config()
    known = [getattr(text, name, None) for name in _NAMES]
    positions = next((value for value in known if isinstance(value, int) and value > 0), None)
    if positions is None or getattr(text, "alibi", False):
        return None
    rope = _rope(text, positions)
    if rope is None or rope.kind not in _STRETCHING:
        return positions
    return max(positions, int(rope.factor * rope.original))


def check_length(shape: PretrainedConfig, max_length: int, packed: bool, name: str) -> None:
    """Make sure that a document of ``max_length`` tokens has its positions, and the same ones in any row.

    Args:
        packed: whether rows hold several documents.
        name: of the model, for messages.

    Raises:
        UserError: the document is longer, or its rotary frequencies would hang on what else was read.
    """
    most = most_positions(shape)
    if most is not None and max_length > most:
        raise UserError(
            f"training.max_length is {max_length}, and {name} has {most:,} positions: lower max_length, or take a base "
            "(or model.architecture.max_position_embeddings) with more"
        )
    rope = _rope(shape.get_text_config(), most or 0)
    if rope is None or max_length <= rope.original:
        return
    if rope.kind == "longrope" and packed:
        raise UserError(
            f"training.max_length is {max_length}, and {name} turns all documents of a row by other frequencies where "
            f"one is longer than {rope.original:,} tokens (longrope): lower max_length, or set training.data.pack false"
        )


def _rope(text: Any, positions: int) -> _Rope | None:
    """The rotary scaling of a text model; None where it has none, or kinds by layer, which have no one length."""
    found = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    if not isinstance(found, dict):
        return None
    kind = found.get("rope_type", found.get("type"))
    if kind in (None, "default"):
        return None
    original = found.get("original_max_position_embeddings") or getattr(text, "original_max_position_embeddings", None)
    return _Rope(str(kind), float(found.get("factor") or 1.0), int(original or positions))
