"""The contract of a connector: frames of a frozen encoder in, the vectors that a language model reads out."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Connected(NamedTuple):
    """What a connector makes of a batch of clips."""

    vectors: Tensor
    """(batch, most, width), zeros after the end of each"""
    lengths: Tensor
    """int64 (batch,): vectors of each"""
    gate: Tensor | None = None
    """(batch, languages) logits of the language of each, of a connector that has a gate"""
    languages: Tensor | None = None
    """int64 (batch,): the true language of each, -1 where it is not known, of a connector that was told"""


class Between(NamedTuple):
    """What a connector stands between."""

    dims: int
    """size of a frame of the encoder"""
    width: int
    """of the embeddings of the language model"""
    scale: float = 1.0
    """root mean square of these embeddings: the size at which vectors begin"""
    languages: tuple[str, ...] = ()
    """tags of the languages that are told apart, in the order of their numbers"""
    seed: int = 0
    """what weights are drawn from"""


class Connector(nn.Module):
    """Frames of an encoder to vectors. It is made from its settings and a :class:`Between`.

    The vectors of a clip never depend on what shares its batch: whatever looks along time is masked by true length. One
    that changes while training goes on has a method ``begin(step, last_step)``.
    """

    in_time = True
    """whether the vectors of a clip stand for equal parts of its time, in order"""
    is_told_languages = False
    """whether it has to be told which language each clip is in, in replies too"""

    @abstractmethod
    def forward(self, frames: Tensor, lengths: Tensor, languages: Tensor | None = None) -> Connected:
        """The vectors of clips.

        Args:
            frames: (batch, frames, dims), of any number behind the end of each.
            lengths: int64 (batch,): frames of each, at least 1.
            languages: int64 (batch,): number of the language of each, -1 of one that is not known; None at inference.
        """

    @abstractmethod
    def num_vectors(self, num_frames: int) -> int:
        """How many places a clip of so many frames takes: at least 1, known before anything runs."""


def valid_frames(lengths: Tensor, most: int) -> Tensor:
    """bool (batch, most): which places lie before the end of their row."""
    return torch.arange(most, device=lengths.device) < lengths[:, None]
