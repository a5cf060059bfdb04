"""What connectors can be told: a section each, of which one is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from cslm.errors import UserError
from cslm.model.speech_prompt.query_bank_config import QueryBankConfig
from cslm.ranges import Range, check_numbers


@dataclass
class StackedConfig:
    """Two layers over stacked frames (AZeroS, arXiv 2601.06086; Ultravox)."""

    stride: int = 4
    """frames that become one vector: of Whisper's 50 a second, 4 leave 12.5 and 8 leave 6.25"""
    hidden_dims: int | None = None
    """between the two layers; null: the width of the language model"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "connector.stacked", stride=Range(least=1), hidden_dims=Range(least=1))


@dataclass
class QFormerConfig:
    """Queries that look at one window of frames each (the window-level Q-Former of SALMONN, arXiv 2310.13289)."""

    window: int = 17
    """frames of a window: of Whisper's 50 a second, 17 are a third of a second"""
    num_queries: int = 1
    """vectors of a window"""
    num_layers: int = 2
    """layers, each of attention among the queries, attention to the frames, and a feed-forward net"""
    hidden_dims: int = 768
    """width of the layers"""
    num_heads: int = 12
    """of the attentions; divides hidden_dims"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        one = Range(least=1)
        check_numbers(self, "connector.qformer", window=one, num_queries=one, num_layers=one, num_heads=one)
        check_numbers(self, "connector.qformer", hidden_dims=one)
        if self.hidden_dims % self.num_heads:
            raise UserError(
                f"connector.qformer.hidden_dims is {self.hidden_dims}, and num_heads {self.num_heads}: give a multiple"
            )


@dataclass
class ConvolutionsConfig:
    """Strided convolutions with gates, an adapter, a norm (BLSP, arXiv 2309.00916)."""

    kernels: list[int] = field(default_factory=lambda: [5, 5, 5])
    """lengths of the kernels, odd; each halves the frames, so three leave 6.25 of 50 a second"""
    channels: int | None = None
    """between two convolutions; null: the size of the encoder's frames"""
    adapter_dims: int = 512
    """inner width of the adapter"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        one = Range(least=1)
        check_numbers(self, "connector.convolutions", kernels=one, channels=one, adapter_dims=one)
        if not self.kernels or any(kernel % 2 == 0 for kernel in self.kernels):
            raise UserError(f"connector.convolutions.kernels is {self.kernels}: give one or more odd lengths")


@dataclass
class ConnectorConfig:
    """Which connector: the section of one of them."""

    query_bank: QueryBankConfig | None = None
    """queries by language, a clip of any length to so many vectors (LAD)"""
    qformer: QFormerConfig | None = None
    """queries over windows of frames"""
    convolutions: ConvolutionsConfig | None = None
    """strided convolutions and an adapter"""
    stacked: StackedConfig | None = None
    """two layers over stacked frames: the simplest that works"""
