"""From scores to the next token: the settings that change scores, and drawing with a generator for each reply."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessorList, PreTrainedModel
from transformers.generation.logits_process import (
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

BLOCK = 64  # numbers that a generator draws at a time
LEAST_TEMPERATURE = 1e-5
"""Below it the most likely token is taken: scores divided by less are no numbers any more."""


def reply_generators(generator: torch.Generator | None, count: int) -> list[torch.Generator]:
    """A generator for each of ``count`` replies, so that none depends on the others; one draw from ``generator``.

    Without a generator, seed 0.
    """
    seed = 0
    if generator is not None:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    seeds = torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return [torch.Generator().manual_seed(one) for one in seeds]


def model_processors(model: PreTrainedModel) -> LogitsProcessorList:
    """What a checkpoint's ``generation_config.json`` changes in the scores.

    ``suppress_tokens``, ``repetition_penalty``, ``no_repeat_ngram_size`` and ``bad_words_ids``. How tokens are drawn is
    not the checkpoint's to say.
    """
    settings = model.generation_config
    processors = LogitsProcessorList()
    if settings is None:
        return processors
    if settings.repetition_penalty not in (None, 1.0):
        processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if settings.bad_words_ids:
        processors.append(NoBadWordsLogitsProcessor(settings.bad_words_ids))
    if settings.suppress_tokens:
        processors.append(SuppressTokensLogitsProcessor(settings.suppress_tokens, device=str(model.device)))
    return processors


def drawing_processors(temperature: float, top_p: float) -> LogitsProcessorList:
    """Temperature and top-p as transformers defines them; none where the most likely token is taken."""
    processors = LogitsProcessorList()
    if temperature < LEAST_TEMPERATURE:
        return processors
    if temperature != 1.0:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_p < 1.0:
        processors.append(TopPLogitsWarper(top_p))
    return processors


class TokenDraws:
    """Draws one token a row and step, each row's from its own generator: no row's draws depend on its neighbours."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = list(generators)
        self._numbers = torch.zeros(len(self._generators), BLOCK, dtype=torch.float64)
        self._used = torch.full((len(self._generators), 1), BLOCK)

    def draw(self, scores: torch.Tensor) -> torch.Tensor:
        """Token ids ``(batch,)`` drawn with the probabilities that scores ``(batch, num_rows)`` stand for."""
        for row in (self._used[:, 0] == BLOCK).nonzero()[:, 0].tolist():
            one = self._generators[row]
            self._numbers[row] = torch.rand(BLOCK, generator=one, dtype=torch.float64, device=one.device)
            self._used[row] = 0
        heights = scores.softmax(dim=-1).double().cumsum(dim=-1)
        wanted = self._numbers.gather(1, self._used).to(heights) * heights[:, -1:]
        self._used += 1
        # the first token whose share of the sum goes beyond the number: never one without probability
        return torch.searchsorted(heights, wanted, right=True)[:, 0].clamp(max=scores.shape[-1] - 1)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with the rows of these indices ``(num_kept,)`` alone."""
        self._generators = [self._generators[row] for row in rows.tolist()]
        self._numbers, self._used = self._numbers[rows.cpu()], self._used[rows.cpu()]

    def join(self, others: TokenDraws) -> None:
        """Go on with the rows of others behind one's own."""
        self._generators += others._generators
        self._numbers = torch.cat([self._numbers, others._numbers])
        self._used = torch.cat([self._used, others._used])
