"""Whose queries a clip gets: those of the language that a gate hears, or in part of the training of the true one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from cslm.errors import UserError
from cslm.model.speech_prompt.gates import GATES
from cslm.model.speech_prompt.query_bank_config import GateConfig

_FORCING, _ANY = 0, 1  # what a random generator is for


class LanguageChoice(nn.Module):
    """Weights over languages for each clip (LAD, section 2).

    What is drawn for a clip hangs on the seed, the step, its number of frames and its language alone: another number of
    processes, other neighbours and a resumed run draw the same.
    """

    def __init__(self, settings: GateConfig, dims: int, languages: Sequence[str], seed: int) -> None:
        """Make the gate.

        Raises:
            UserError: there are not two languages to tell apart.
        """
        super().__init__()
        if len(languages) < 2:
            raise UserError(
                f"connector.query_bank.gate tells languages apart, and there are {len(languages)} "
                f"({', '.join(languages) or 'none'}): name two or more as languages, or set the gate null"
            )
        self._settings, self._languages, self._seed = settings, len(languages), seed
        self._names = ", ".join(languages)
        network = GATES.get(settings.network)
        self.network = None if network is None else network(settings, dims, len(languages))
        self.step, self.forcing = 0, 0.0

    def begin(self, step: int, last_step: int) -> None:
        """Set the probability of taking the true language: it falls from 1 to 0 by half a cosine."""
        span = self._settings.teacher_forcing * last_step
        self.step = step
        self.forcing = 0.5 * (1 + math.cos(math.pi * step / span)) if step < span else 0.0

    def forward(self, frames: Tensor, lengths: Tensor, languages: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weights (batch, languages) that sum to 1, and logits of the gate where there is one.

        Args:
            frames: (batch, frames, dims).
            lengths: int64 (batch,).
            languages: int64 (batch,), -1 of one that is not known; None: nothing is.

        Raises:
            UserError: the true language is wanted, and it is not known of a clip.
        """
        if self._settings.network == "given":
            return self._given(languages, frames), None
        if self.network is None:
            return self._any(lengths, frames), None
        logits = self.network(frames, lengths)
        shares = (logits.float() / self._settings.temperature).softmax(dim=-1)
        chosen = shares
        if self._settings.selection == "hard":
            chosen = one_hot(logits.argmax(dim=-1), self._languages) + (shares - shares.detach())
        if self.training and languages is not None:
            true = one_hot(languages.clamp(min=0), self._languages) + 0 * shares  # in the graph on every process
            chosen = torch.where(self._is_forced(lengths, languages)[:, None], true, chosen)
        return chosen.to(frames.dtype), logits

    def _given(self, languages: Tensor | None, frames: Tensor) -> Tensor:
        if languages is None or bool((languages < 0).any()):
            raise UserError(
                "connector.query_bank.gate.network is given: this model wants to be told the language of each clip, "
                f"one of {self._names}"
            )
        return one_hot(languages, self._languages).to(frames.dtype)

    def _any(self, lengths: Tensor, frames: Tensor) -> Tensor:
        step = self.step if self.training else 0
        drawn = [
            int(np.random.default_rng([self._seed, _ANY, step, length]).integers(self._languages))
            for length in lengths.tolist()
        ]
        return one_hot(torch.tensor(drawn, device=frames.device), self._languages).to(frames.dtype)

    def _is_forced(self, lengths: Tensor, languages: Tensor) -> Tensor:
        """bool (batch,): which clips take the queries of their true language."""
        if self.forcing <= 0:
            return torch.zeros_like(languages, dtype=torch.bool)
        drawn = [
            language >= 0
            and np.random.default_rng([self._seed, _FORCING, self.step, length, language]).random() < self.forcing
            for length, language in zip(lengths.tolist(), languages.tolist(), strict=True)
        ]
        return torch.tensor(drawn, device=languages.device)
