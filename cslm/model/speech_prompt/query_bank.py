"""LAD's connector: learnable queries by language through a Q-Former (arXiv 2603.07025, sections 1 and 2).

A clip of any length becomes as many vectors as there are queries. Without a gate it is DiVA's connector for several
languages, the paper's baseline: one static sequence of queries.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from cslm.errors import UserError
from cslm.model.speech_prompt.connector import Between, Connected, Connector, valid_frames
from cslm.model.speech_prompt.language_choice import LanguageChoice
from cslm.model.speech_prompt.query_bank_config import QueryBankConfig
from cslm.model.speech_prompt.whisper_qformer import WhisperQFormer, new_decoder, pretrained_decoder, shape_of

_QUERY_DEVIATION = 0.02


class QueryBank(Connector):
    """A bank of queries, what chooses among them, a Q-Former, a linear layer to the language model's width."""

    in_time = False

    def __init__(self, settings: QueryBankConfig, between: Between) -> None:
        """Make it; a Whisper's decoder is read here.

        Raises:
            UserError: the Whisper cannot be read, has too few positions, or there are no languages to choose from.
        """
        super().__init__()
        shape = settings.shape or shape_of(str(settings.whisper), settings.revision, settings.layers)
        if settings.num_queries > shape.positions:
            raise UserError(
                f"connector.query_bank.num_queries is {settings.num_queries}, and the decoder has {shape.positions} "
                "positions: give at most so many, or more blocks"
            )
        self.settings = dataclasses.replace(settings, whisper=None, revision=None, layers=None, shape=shape)
        """what a trained one is made from again, without the Whisper that it began with"""
        decoder = (
            new_decoder(shape)
            if settings.whisper is None
            else pretrained_decoder(settings.whisper, settings.revision, settings.layers)
        )
        count, width = settings.num_queries * settings.blocks, shape.width
        gate = settings.gate
        self.choice = None if gate is None else LanguageChoice(gate, between.dims, between.languages, between.seed)
        self.is_told_languages = gate is not None and gate.network == "given"
        self._count = count  # ZeRO 3 leaves no shape on a parameter
        banks = 1 if gate is None else len(between.languages)
        self.queries = nn.Parameter(_QUERY_DEVIATION * torch.randn(banks, count, width))
        self.entry = nn.Identity() if between.dims == width else nn.Linear(between.dims, width)
        self.qformer = WhisperQFormer(decoder, settings.num_queries)
        self.projection = nn.Linear(width, between.width)
        nn.init.normal_(self.projection.weight, std=between.scale / width**0.5)
        nn.init.zeros_(self.projection.bias)

    def begin(self, step: int, last_step: int) -> None:
        """Before a step: how often the true language is taken."""
        if self.choice is not None:
            self.choice.begin(step, last_step)

    def num_vectors(self, num_frames: int) -> int:
        """As many as there are queries, whatever the clip."""
        return self._count

    def forward(self, frames: Tensor, lengths: Tensor, languages: Tensor | None = None) -> Connected:
        """See :class:`Connector`."""
        batch, count = len(lengths), self._count
        frames = torch.where(valid_frames(lengths, frames.shape[1])[..., None], frames, 0)
        logits = None
        if self.choice is None:
            queries = self.queries.expand(batch, -1, -1)
        else:
            weights, logits = self.choice(frames, lengths, languages)
            queries = (weights @ self.queries.flatten(1)).unflatten(1, self.queries.shape[1:])
        causal = self.settings.self_attention == "causal"
        vectors = self.projection(self.qformer(queries, self.entry(frames), lengths, causal))
        return Connected(vectors, torch.full_like(lengths, count), logits, languages)
