"""Hearing: the error rate of the model's transcripts, by set and language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.evaluation.error_rates import rate_name, rate_scores, text_errors
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Table, count, html_table, percent, rate_key, with_key
from cslm.evaluation.scored_model import TRANSCRIPTS, ScoredModel, load_clip, transcripts


@dataclass
class AsrScore(Score):
    """Speech to text."""

    sets: dict[str, str] = field(default_factory=dict)
    """manifests of speech to transcribe, by the name that results give them; each is scored by language"""

    def files(self) -> Sequence[str]:
        """The manifests."""
        return list(self.sets.values())

    def check(self, scored: ScoredModel) -> None:
        """There is a set.

        Raises:
            UserError: there is none.
        """
        if not self.sets:
            raise UserError("scores.asr.sets names no manifest: give one, as `sets: {test: MANIFEST}`")

    def compute(self, scored: ScoredModel) -> Computed:
        """By set, by language: the error rate, its interval, and ``n``; what was heard as lines of transcripts."""
        found = Computed({})
        for name, manifest in self.sets.items():
            found.results[name] = {}
            for language, items in scored.by_language(manifest).items():
                heard, scores = _hear(scored, items, language, name)
                found.results[name][language] = scores
                found.files.setdefault(TRANSCRIPTS, []).extend(transcripts(name, items, heard))
        return found

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """A row for each set and language."""
        columns: list[Column] = [("error rate", "rate", percent), ("n", "n", count)]
        rows = {
            f"{name}, {language} ({rate_key(values).upper()})": {**values, **with_key(values, rate_key(values), "rate")}
            for name, by_language in results.items()
            for language, values in by_language.items()
        }
        return [Table("Hearing: speech to text", html_table(rows, columns))]


def _hear(
    scored: ScoredModel, items: Sequence[tuple[Utterance, Path]], language: str, name: str
) -> tuple[list[str], Record]:
    """What the model hears in each item, and the scores of that."""
    clips = [load_clip(utterance, path) for utterance, path in items]
    heard = scored.ear.transcribe(clips, [language] * len(items), f"transcribe {name}, {language}")
    counts = text_errors([utterance.text for utterance, _ in items], heard, language)
    return heard, rate_scores(counts, rate_name(language), scored.bootstrap())
