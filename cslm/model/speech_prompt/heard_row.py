"""The contract of a loss of a speech prompt: a packed row that the model has heard, to one term of the objective."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from cslm.batches.packed_row import PackedRow
from cslm.model.loss import ReadRow, TargetLosses
from cslm.model.objective import Term
from cslm.model.speech_prompt.connector import Connected


class HeardRow(NamedTuple):
    """A packed row, and what the model has made of it; the language model has run once."""

    row: PackedRow
    connected: Connected
    """of ``row.clips``; of one silent clip that stands nowhere where there are none"""
    embeddings: Tensor
    """(1, tokens, width) what the language model has read"""
    read: ReadRow
    """its last hidden states"""
    targets: TargetLosses
    """the cross-entropy of what is trained"""
    llm: PreTrainedModel


class PromptLoss(Protocol):
    """One term of the objective. It is made from its settings."""

    @abstractmethod
    def __call__(self, heard: HeardRow) -> Term:
        """The term of one row: its sum, 0 and part of the graph where there is nothing to learn."""
