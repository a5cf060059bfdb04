"""Documents drawn by language: each language as often as the number of its documents to an exponent says.

Every block of draws holds its quota of each language, in an order drawn for that block, and each language goes through
its documents epoch by epoch: a draw is a pure function of (seed, number), at a cost that does not depend on the number.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import numpy.typing as npt

from cslm.batches.order import mix, permuted_draw, permuted_index
from cslm.batches.source_config import CommonSource, SourceConfig
from cslm.errors import UserError
from cslm.sequences.sequence import Sequence

BLOCK = 1024


class LanguageBalance:
    """Which document comes at a draw."""

    def __init__(self, languages: npt.NDArray[np.int32], exponent: float) -> None:
        """Reckon the quotas.

        Args:
            languages: number of the language of each document, ``(documents,)``.
            exponent: 1 draws every document alike, 0 every language alike.
        """
        counts = np.bincount(languages)
        present = np.flatnonzero(counts)
        self._documents = [np.flatnonzero(languages == language) for language in present.tolist()]
        shares = counts[present].astype(np.float64) ** exponent
        self._shares = shares / shares.sum()
        self.quotas = _quotas(self._shares, BLOCK)
        """draws of each language that there is, in the order of their numbers, in a block"""
        self._firsts = np.concatenate(([0], np.cumsum(self.quotas)))

    def draw(self, number: int, seed: int) -> int:
        """The document of a draw, counted from 0 over the training."""
        block, place = divmod(number, BLOCK)
        slot = permuted_index(seed, block, place, BLOCK)
        language = int(np.searchsorted(self._firsts, slot, side="right")) - 1
        turn = block * int(self.quotas[language]) + slot - int(self._firsts[language])
        documents = self._documents[language]
        return int(documents[permuted_draw(mix(seed, language), turn, len(documents))])

    def sample(self, count: int) -> list[int]:
        """Documents that stand for the draws: of each language its quota of ``count``, evenly spaced, sorted.

        A language with fewer documents than its quota has some of them more than once.
        """
        quotas = _quotas(self._shares, max(count, len(self._documents))).tolist()
        spread = [
            documents[np.linspace(0, len(documents) - 1, quota).round().astype(np.int64)]
            for documents, quota in zip(self._documents, quotas, strict=True)
        ]
        return np.sort(np.concatenate(spread)).tolist()


class BalancedSource(CommonSource):
    """A source whose documents are drawn by language, if ``language_exponent`` says so."""

    _balance: LanguageBalance | None

    def _balance_languages(self, config: SourceConfig, codes: npt.NDArray[np.int32], names: Seq[str]) -> None:
        """Lay out the draws, and say which languages there are.

        Args:
            codes: number of the language of each document, ``(documents,)``.
            names: of the languages, by their numbers.
        """
        self.languages = sorted(names[code] for code in np.unique(codes).tolist())
        exponent = config.language_exponent
        self._balance = None if exponent == 1 else LanguageBalance(codes, exponent)

    def sample_places(self, count: int) -> list[int]:
        """As :meth:`CommonSource.sample_places`; where languages are balanced, as :meth:`LanguageBalance.sample`."""
        return super().sample_places(count) if self._balance is None else self._balance.sample(count)

    def drawn(self, draw: int, seed: int, progress: float) -> Sequence:
        """The document of draw ``draw``: of one of the languages, by their shares, where these are balanced."""
        balance = self._balance
        index = permuted_draw(seed, draw, self.num_documents) if balance is None else balance.draw(draw, seed)
        return self.sequence(index, mix(seed, draw), progress)


def check_exponent(name: str, exponent: float) -> None:
    """Make sure that a source can be drawn so.

    Raises:
        UserError: an exponent that is not from 0 to 1.
    """
    if not 0 <= exponent <= 1:
        raise UserError(
            f"the source {name} has language_exponent {exponent}: give 1 (as there are documents) to 0 (all alike)"
        )


def _quotas(shares: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Whole numbers that sum to ``count``, at least one of each, by largest remainder."""
    assert len(shares) <= count, f"{len(shares)} languages"
    quotas = np.maximum(1, np.floor(shares * count).astype(np.int64))
    while quotas.sum() < count:
        quotas[np.argmax(shares * count - quotas)] += 1
    while quotas.sum() > count:
        quotas[np.argmax(np.where(quotas > 1, quotas - shares * count, -np.inf))] -= 1
    return quotas
