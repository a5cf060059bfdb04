"""Word, character and unit error rates, pooled over a set, with bootstrap intervals.

A language that is written without spaces is scored by character (CER), the others by word (WER). Text is compared in
lower case and without punctuation (NFKC), so that only what can be heard counts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np

from cslm.corpora.languages import is_unspaced
from cslm.evaluation.paired_tests import ratio_interval

_NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class ErrorCounts:
    """Errors and reference length of each item of a set."""

    errors: np.ndarray
    lengths: np.ndarray

    @property
    def rate(self) -> float:
        """All errors over all reference tokens."""
        return float(self.errors.sum() / max(1, self.lengths.sum()))

    def interval(self, generator: np.random.Generator) -> tuple[float, float]:
        """The 95 % bootstrap interval of the rate over items."""
        return ratio_interval(self.errors, self.lengths, _NUM_RESAMPLES, generator)


def by_character(language: str) -> bool:
    """Whether error rates in this language (BCP 47) count characters instead of words."""
    return is_unspaced(language)


def rate_name(language: str) -> str:
    """The key of the error rate in results: ``cer`` or ``wer``."""
    return "cer" if by_character(language) else "wer"


def normalize(text: str, language: str) -> str:
    """Lower case without punctuation and symbols; words joined by one space, or by none where none are written.

    An apostrophe inside a word stays (``it's``), and only there.

    Written here, for it tells best which texts sound alike: of 33 hand-made pairs in five languages it is right about
    30, jiwer's transforms about 22, Whisper's normalizers about 24 (``tests/evaluation/test_error_rates.py`` counts).
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    kept = [c if c == "'" or unicodedata.category(c)[0] in "LNM" else " " for c in text]
    words = [word.strip("'") for word in "".join(kept).split()]
    return ("" if by_character(language) else " ").join(word for word in words if word)


def text_errors(references: Sequence[str], hypotheses: Sequence[str], language: str) -> ErrorCounts:
    """Word or character errors of each hypothesis (jiwer's alignment); an empty reference counts insertions."""
    assert len(references) == len(hypotheses)
    pairs = [(normalize(r, language), normalize(h, language)) for r, h in zip(references, hypotheses, strict=True)]
    counts = [_jiwer_counts(reference, hypothesis, by_character(language)) for reference, hypothesis in pairs]
    return _error_counts(counts)


def unit_errors(references: Sequence[Sequence[int]], hypotheses: Sequence[Sequence[int]]) -> ErrorCounts:
    """Edit distance between merged unit sequences, and the length of each reference."""
    pairs = [(_spelt(r), _spelt(h)) for r, h in zip(references, hypotheses, strict=True)]
    return _error_counts([_jiwer_counts(reference, hypothesis, characters=False) for reference, hypothesis in pairs])


def rate_scores(counts: ErrorCounts, name: str, generator: np.random.Generator) -> dict[str, Any]:
    """The entry of results.json: the rate under ``name``, its 95 % interval under ``name``_interval, and ``n``."""
    if len(counts.errors) == 0:
        return {"n": 0}
    low, high = counts.interval(generator)
    return {name: round(counts.rate, 5), f"{name}_interval": [round(low, 5), round(high, 5)], "n": len(counts.errors)}


def _spelt(units: Sequence[int]) -> str:
    return " ".join(str(unit) for unit in units)


def _jiwer_counts(reference: str, hypothesis: str, characters: bool) -> tuple[int, int]:
    if not reference:
        return len(hypothesis) if characters else len(hypothesis.split()), 0
    process = jiwer.process_characters if characters else jiwer.process_words
    output = process(reference, hypothesis)
    missed = output.substitutions + output.deletions
    return missed + output.insertions, output.hits + missed


def _error_counts(counts: Sequence[tuple[int, int]]) -> ErrorCounts:
    array = np.asarray(counts, dtype=np.int64).reshape(-1, 2)
    return ErrorCounts(errors=array[:, 0], lengths=array[:, 1])
