"""Which recognizer is trained, and of what size: the section of one family."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers

_ONE = Range(least=1)


@dataclass
class WhisperSizesConfig:
    """A Whisper with new weights, and a tokenizer of its own (arXiv 2212.04356)."""

    width: int = 128
    """of encoder and decoder"""
    encoder_layers: int = 3
    """after two convolutions"""
    decoder_layers: int = 3
    """what a Q-Former starts from"""
    heads: int = 4
    """of each attention; divides the width"""
    inner: int = 512
    """between the two linear layers of a layer"""
    window_sec: int = 10
    """each recording is filled up with silence to so many seconds, at most 30; a longer one is left out"""
    positions: int = 448
    """most ids of a transcript, four of them controls; the most queries of a Q-Former"""
    vocab_size: int = 1000
    """of the byte-pair encoding that is learnt from the transcripts, controls not counted; at least 256"""
    dropout: float = 0.0
    """share of the activations that are set to 0 in training"""
    ctc_weight: float = 0.5
    """share of a CTC loss of characters, on the encoder, beside the decoder's (arXiv 1609.06773); its head is not kept.
    From nothing a decoder learns what is often said long before it listens, and 0 leaves it at that. A recording with
    more characters than frames (20 ms) has no such loss"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        where = "recognizer.whisper"
        check_numbers(
            self, where, width=_ONE, encoder_layers=_ONE, decoder_layers=_ONE, heads=_ONE, inner=_ONE,
            window_sec=Range(least=1, most=30), positions=Range(least=8), vocab_size=Range(least=256),
            dropout=Range(least=0, below=1), ctc_weight=Range(least=0, below=1),
        )  # fmt: skip
        _check_heads(where, self.width, self.heads)


@dataclass
class CtcSizesConfig:
    """A wav2vec 2.0 with a CTC head over characters, with new weights (arXiv 2006.11477)."""

    width: int = 128
    """of convolutions and layers"""
    layers: int = 4
    """of attention"""
    heads: int = 4
    """of each attention; divides the width"""
    inner: int = 512
    """between the two linear layers of a layer"""
    window_sec: int = 10
    """a longer recording is left out"""
    dropout: float = 0.0
    """share of the activations that are set to 0 in training"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        where = "recognizer.ctc"
        check_numbers(
            self, where, width=_ONE, layers=_ONE, heads=_ONE, inner=_ONE, window_sec=_ONE,
            dropout=Range(least=0, below=1),
        )  # fmt: skip
        _check_heads(where, self.width, self.heads)


@dataclass
class RecognizerConfig:
    """Which recognizer: the section of one of them."""

    whisper: WhisperSizesConfig | None = None
    """encoder and decoder"""
    ctc: CtcSizesConfig | None = None
    """encoder alone"""


def _check_heads(where: str, width: int, heads: int) -> None:
    if width % heads:
        raise UserError(f"{where}: {heads} heads do not divide the width {width}: give others")
