"""A hash of a frozen encoder: what stores of its frames and checkpoints before it hang on."""

from __future__ import annotations

from cslm.codecs.fingerprint import fingerprint
from cslm.encoders.encoder import Encoder

ENCODER = "encoder"
"""what messages and headers of stores call it"""


def encoder_hash(encoder: Encoder) -> str:
    """``sha256:...`` of the tensors of an encoder and of what else decides its frames."""
    return fingerprint(encoder.tensors(), {**encoder.facts(), **encoder.parameters()})
