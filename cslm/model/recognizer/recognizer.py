"""The contract of a recognizer in training: recordings and their transcripts in, one term of the objective out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cslm.model.objective import GroupReport, Objective, Term

SAMPLE_RATE_HZ = 16000


@dataclass(frozen=True, eq=False)
class RecognizerBatch:
    """The micro-batch of a recognizer, padded with zeros."""

    features: Tensor
    """float32 (batch, longest) or (batch, longest, dims)"""
    feature_lengths: Tensor
    """int64 (batch,): features of each, with the silence behind it or without; what else a row has is not heard"""
    labels: Tensor
    """int64 (batch, longest)"""
    label_lengths: Tensor
    """int64 (batch,): labels of each; 0 of what only fills a batch"""
    groups: Tensor
    """int64 (batch,): the group that each is reported in"""

    @property
    def num_slots(self) -> int:
        """Places that are computed."""
        return self.features.shape[0] * self.features.shape[1]

    def counts(self) -> dict[str, int]:
        """What the term is a mean over."""
        return {"labels": int(self.label_lengths.sum())}

    def to(self, device: torch.device) -> RecognizerBatch:
        """The same on a device."""
        parts = (self.features, self.feature_lengths, self.labels, self.label_lengths, self.groups)
        return RecognizerBatch(*(part.to(device, non_blocking=True) for part in parts))


class Recognizer(nn.Module):
    """A recognizer of transformers with its loss."""

    num_groups: int

    @abstractmethod
    def labels(self, text: str, language: str) -> npt.NDArray[np.int64]:
        """What is to be recognized, (labels,)."""

    @abstractmethod
    def features(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the network reads of samples at 16 kHz, perhaps with silence behind it."""

    @abstractmethod
    def num_features(self, num_samples: int) -> int:
        """How many of them are of the recording itself."""

    @abstractmethod
    def fault(self, num_samples: int, num_labels: int) -> str | None:
        """Why a recording cannot be learnt from, in words; None where it can."""

    @abstractmethod
    def losses(self, batch: RecognizerBatch) -> tuple[Tensor, Tensor]:
        """The summed loss of each recording with gradient, and how many of its labels are right: (batch,) each."""

    @abstractmethod
    def save(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write a plain folder of transformers: model, tokenizer, feature extractor."""

    def forward(self, batch: RecognizerBatch) -> Objective:
        """One term: the mean over the labels."""
        losses, correct = self.losses(batch)
        values = (losses.detach(), batch.label_lengths.float(), correct)
        report = [losses.new_zeros(self.num_groups).index_add_(0, batch.groups, value) for value in values]
        return Objective({"recognition": Term(losses.sum(), "labels")}, GroupReport(*report))


def inner_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the model of transformers inside a recognizer, by its own names."""
    return {name.removeprefix("model."): value for name, value in weights.items()}


def check_languages(languages: Sequence[str]) -> None:
    """Make sure that there is something to recognize."""
    assert languages, "a recognizer of no language"
