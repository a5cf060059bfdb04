"""Lengths of documents as in the paper's mixture (CSLM table 3), and the settings of its authors' runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MICRO_BATCH, ACCUMULATION, RANKS = 2, 6, 24
LONGEST = 2048
WARM_STEPS = 3
LEARNING_RATE = 6e-5


class Kind(NamedTuple):
    """Documents of one kind, as the paper's table 3 has them."""

    tokens: float
    """share of the tokens, in any unit (the table's billions)"""
    mean: float
    """mean tokens of a document"""
    spread: float
    """of the log-normal that lengths are drawn from"""
    learnt: float
    """share of a document that is a response"""


# Read speech of MLS (10 to 20 s), segments of GigaSpeech and WenetSpeech, translations, instructions. A second of
# speech has 17 to 23 units after merging; an instruction and the chat's markers are 25 tokens.
MIXTURE = {
    "MLS, ASR": Kind(2.15, 420, 0.25, 0.12),
    "MLS, TTS": Kind(2.15, 420, 0.25, 0.82),
    "GigaSpeech, ASR": Kind(0.45, 123, 0.6, 0.16),
    "GigaSpeech, TTS": Kind(0.45, 123, 0.6, 0.63),
    "WenetSpeech, ASR": Kind(1.6, 118, 0.6, 0.24),
    "WenetSpeech4TTS, TTS": Kind(0.8, 130, 0.5, 0.6),
    "WMT, translation": Kind(0.6, 120, 0.6, 0.4),
    "Infinity-Instruct": Kind(1.9, 500, 0.8, 0.65),
}


@dataclass(frozen=True)
class Shape:
    """Size of the model and of the run."""

    hidden_size: int = 256
    num_layers: int = 8
    vocab_size: int = 7168
    steps: int = 30
    threads: int = 2
    precision: str = "fp32"

    @property
    def head_share(self) -> float:
        """Share of the output head in the multiplications of a token, attention left out."""
        head = self.hidden_size * self.vocab_size
        return head / (
            head + self.num_layers * (4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size)
        )

    @property
    def intermediate_size(self) -> int:
        """Width of the gated layers, as a multiple of 64."""
        return round(self.hidden_size * 2.75 / 64) * 64


def drawn_lengths(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of documents, and how many at the end of each are learnt, in random order."""
    generator = np.random.default_rng(seed)
    documents = np.array([kind.tokens / kind.mean for kind in MIXTURE.values()])
    kinds = list(MIXTURE.values())
    lengths, learnt = np.empty(count, np.int64), np.empty(count, np.int64)
    for place, index in enumerate(generator.choice(len(kinds), size=count, p=documents / documents.sum())):
        mean, spread, share = kinds[index].mean, kinds[index].spread, kinds[index].learnt
        drawn = mean * np.exp(spread * generator.standard_normal() - spread**2 / 2)
        lengths[place] = int(min(max(drawn, 16), LONGEST))
        learnt[place] = max(1, round(share * lengths[place]))
    return lengths, learnt
