"""What a bank of queries can be told (LAD, arXiv 2603.07025)."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers

GATE_NETWORKS = ("convolutional", "attention", "given", "random")
GATES_WITHOUT_NETWORK = ("given", "random")
SELECTIONS = ("hard", "soft")
SELF_ATTENTIONS = ("causal", "full")


@dataclass
class GateConfig:
    """Which language is heard, and so which of the bank's queries are taken (LAD, arXiv 2603.07025, section 2)."""

    network: str = "convolutional"
    """convolutional (a time-delay network with statistics pooling), attention (attention pooling and two layers); as
    controls given (the true language, in training and in replies) or random (any language, drawn for each clip)"""
    selection: str = "hard"
    """hard (the queries of the likeliest language; straight-through in training) or soft (a mixture of all)"""
    temperature: float = 1.0
    """of the softmax over languages that mixes queries, and that gradients go through"""
    teacher_forcing: float = 0.5
    """share of the training in which the probability of taking the true language's queries falls from 1 to 0, by half a
    cosine; 0 never takes them"""
    width: int = 256
    """channels of the network"""
    layers: int = 3
    """convolutions, each with a stride of 2; of the convolutional network alone"""
    kernel_size: int = 5
    """frames that a convolution sees, odd; of the convolutional network alone"""
    heads: int = 4
    """weighted means over time; of attention pooling alone"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, by name.
        """
        where = "connector.query_bank.gate"
        one = Range(least=1)
        check_numbers(self, where, width=one, layers=one, kernel_size=one, heads=one)
        check_numbers(self, where, temperature=Range(above=0), teacher_forcing=Range(least=0, most=1))
        _one_of(f"{where}.network", self.network, GATE_NETWORKS)
        _one_of(f"{where}.selection", self.selection, SELECTIONS)
        if self.kernel_size % 2 == 0:
            raise UserError(f"{where}.kernel_size is {self.kernel_size}: give an odd number")


@dataclass
class QFormerShapeConfig:
    """Sizes of a Q-Former that is not started from a Whisper, or that is opened from a checkpoint."""

    width: int = 256
    """of queries and layers"""
    layers: int = 4
    """each with attention among queries, attention to frames, two linear layers"""
    heads: int = 4
    """of both attentions; divides the width"""
    inner: int = 1024
    """between the two linear layers"""
    positions: int = 448
    """most queries of a sequence"""
    activation: str = "gelu"
    """between the two linear layers, by its name in transformers"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        one = Range(least=1)
        check_numbers(self, "connector.query_bank.shape", width=one, layers=one, heads=one, inner=one, positions=one)
        if self.width % self.heads:
            raise UserError(
                f"connector.query_bank.shape: {self.heads} heads do not divide the width {self.width}: give others"
            )


@dataclass
class QueryBankConfig:
    """Learnable queries, a sequence a language, through a Q-Former with the weights of a Whisper's decoder (LAD)."""

    num_queries: int = 256
    """of each sequence; a clip of any length becomes so many vectors"""
    whisper: str | None = None
    """hub id or folder of the Whisper whose decoder the Q-Former starts from; null draws it anew, of the shape"""
    revision: str | None = None
    """branch, tag or commit on the hub"""
    layers: int | None = None
    """of the Whisper's decoder, so many from the first on; null takes all"""
    shape: QFormerShapeConfig | None = None
    """sizes of the Q-Former, where no Whisper gives them"""
    gate: GateConfig | None = None
    """what chooses among the sequences of the languages; null: there is one sequence for all (ML-DiVA)"""
    blocks: int = 1
    """so many times the queries in each sequence, each block with the positions from 0 on: for a static bank of as many
    queries as one of several languages has"""
    self_attention: str = "causal"
    """among queries: causal, as the decoder was trained, or full"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, by name; or neither a Whisper nor a shape, or both.
        """
        where = "connector.query_bank"
        check_numbers(self, where, num_queries=Range(least=1), blocks=Range(least=1))
        _one_of(f"{where}.self_attention", self.self_attention, SELF_ATTENTIONS)
        if (self.whisper is None) == (self.shape is None):
            found = "both are given" if self.shape is not None else "neither is given"
            raise UserError(f"{where} takes its sizes from whisper or from shape, and {found}: give one of them")
        if self.layers is not None:
            check_numbers(self, where, layers=Range(least=1))
            if self.shape is not None:
                raise UserError(f"{where}.layers is of a Whisper's decoder: give {where}.shape.layers")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}: choose one of {', '.join(choices)}")
