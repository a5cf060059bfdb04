"""A score from outside of the package: how long the texts of a manifest are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cslm.evaluation.score_contract import Computed, Score
from cslm.evaluation.score_tables import Table, html_table
from cslm.evaluation.scored_model import ScoredModel


@dataclass
class LengthScore(Score):
    """Length of texts."""

    manifest: str
    """whose texts"""
    longest: int = 50
    """a text counts for so many letters at most"""

    def files(self) -> Sequence[str]:
        return [self.manifest]

    def compute(self, scored: ScoredModel) -> Computed:
        found = Computed({}, {"lengths.jsonl": []})
        for language, items in scored.by_language(self.manifest).items():
            lengths = [min(self.longest, len(utterance.text)) for utterance, _ in items]
            found.results[language] = {"mean": sum(lengths) / len(lengths), "n": len(lengths)}
            for (utterance, _), length in zip(items, lengths, strict=True):
                found.files["lengths.jsonl"].append({"id": utterance.id, "length": length})
        return found

    @classmethod
    def tables(cls, results: dict[str, Any]) -> list[Table]:
        return [Table("Length of the texts", html_table(results, [("mean", "mean", _letters)]))]


def _letters(values: Any, name: str) -> str:
    return f"{values[name]:.0f} letters"
