"""Alignment of languages: how much closer the hidden states of one sentence in two languages are than those of others.

A sentence is the mean of its hidden states over its units, layer by layer. The cosine of the two spoken forms of one
sentence (parallel) stands beside that of one of them and the other form of other sentences (random), by language pair
(cross-lingual interleaving, arXiv 2512.01865, evaluation). Random is the mean over all other sentences, not one draw.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.evaluation.aligned_sentences import (
    Parallel,
    alignment_scores,
    cosines,
    parallel_sentences,
    several_voices,
)
from cslm.evaluation.hidden_states import pooled_states
from cslm.evaluation.paired_tests import NUM_RESAMPLES
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Scores, Table, count, html_table
from cslm.evaluation.scored_model import ScoredModel, spread
from cslm.evaluation.spoken_sequences import Framing, spoken_ids
from cslm.evaluation.spoken_source import Spoken, SpokenSource
from cslm.model.positions import most_positions
from cslm.ranges import Range, check_numbers

States = dict[str, NDArray[np.float32]]
"""Pooled hidden states ``(num_layers + 1, width)`` by the id of the utterance."""

ROWS = "alignment.jsonl"
_NAMED = 5


@dataclass
class AlignmentScore(Score):
    """Cosines of hidden states across languages."""

    sets: dict[str, SpokenSource] = field(default_factory=dict)
    """stores or manifests of utterances with groups, by the name that results give them; of several utterances of one
    group in one language (voices) the first is taken, which is said"""
    languages: list[str] | None = None
    """between which languages, BCP 47; null takes all that there are"""
    same_speaker: bool = True
    """the other sentences are those of the speaker of the parallel one, so that a voice is taken for no meaning"""
    batch_tokens: int = 8192
    """ids read together, padding included"""
    num_resamples: int = NUM_RESAMPLES
    """of documents or sentences, for intervals"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a number out of range, or languages that are none, or fewer than two.
        """
        check_numbers(self, "scores.alignment", batch_tokens=Range(least=1), num_resamples=Range(least=100))
        if self.languages is not None:
            self.languages = list(dict.fromkeys(language_tag(language) for language in self.languages))
            if len(self.languages) < 2:
                raise UserError(f"scores.alignment.languages is {self.languages}: give two or more, or null")

    def files(self) -> Sequence[str]:
        """Stores and manifests."""
        return [file for source in self.sets.values() for file in source.files()]

    def check(self, scored: ScoredModel) -> None:
        """There are sets that fit the model, with sentences in two languages.

        Raises:
            UserError: there are none, or they do not fit.
        """
        if not self.sets:
            raise UserError("scores.alignment.sets names no set: give one, as `sets: {test: {stores: [STORE]}}`")
        for name, source in self.sets.items():
            source.check(scored, f"scores.alignment.sets.{name}")
            self._tell_missing(scored, name, self._parallel(scored, name).keys())
            for language, several in several_voices(source.listed(scored)).items():
                print(
                    f"{name}: {several} sentences in {language} have several utterances: the first is taken", flush=True
                )

    def compute(self, scored: ScoredModel) -> Computed:
        """By set and pair of languages, from the rows of alignment.jsonl.

        Raises:
            UserError: a model that does not show its hidden states, or utterances that cannot be read.
        """
        found = Computed({}, {ROWS: []})
        for name, source in self.sets.items():
            parallel = self._parallel(scored, name)
            wanted = dict.fromkeys(one.id for pairs in parallel.values() for pair in pairs for one in pair)
            spoken, missing = source.spoken(scored, wanted.keys())
            states = self._states(scored, name, spoken, missing)
            found.results[name] = {}
            for languages, pairs in parallel.items():
                rows = self._rows(pairs, states)
                scores = alignment_scores(rows, self.num_resamples, scored.bootstrap())
                left_out = len(pairs) - len(rows)
                found.results[name][languages] = scores | ({"left_out": left_out} if left_out else {})
                found.files[ROWS] += [{"set": name, "languages": languages, **row} for row in rows]
        return found

    def _parallel(self, scored: ScoredModel, name: str) -> dict[str, list[Parallel]]:
        """At most ``max_items`` sentences of each pair of languages."""
        where = f"scores.alignment.sets.{name}"
        found = parallel_sentences(self.sets[name].listed(scored), self.languages, where)
        found = {languages: spread(pairs, scored.config.max_items) for languages, pairs in found.items()}
        for languages, pairs in found.items():
            if len(set(self._voices(pairs))) == len(pairs):
                raise UserError(
                    f"{where}: no two of the {len(pairs)} sentences in {languages} are of one speaker, so none can "
                    "be compared with another: set scores.alignment.same_speaker to false, or score more sentences"
                )
        return found

    def _tell_missing(self, scored: ScoredModel, name: str, found: Collection[str]) -> None:
        """Print the pairs of languages that are not asked for by name, and say too little together to be compared."""
        there = sorted({one.language for one in self.sets[name].listed(scored) if one.group is not None})
        pairs = [f"{one}-{other}" for one, other in combinations(there, 2)] if self.languages is None else []
        few = [pair for pair in pairs if pair not in found]
        if few:
            print(f"{name}: fewer than two sentences are parallel between {', '.join(few)}: left out", flush=True)

    def _voices(self, pairs: Sequence[Parallel]) -> list[str | None]:
        """What sentences that are compared have in common."""
        return [second.speaker if self.same_speaker else None for _, second in pairs]

    def _states(self, scored: ScoredModel, name: str, spoken: dict[str, Spoken], missing: dict[str, str]) -> States:
        """The states of the utterances that the model can read; the others are counted and printed."""
        most = most_positions(scored.tasks.model.config)
        ids: dict[str, NDArray[np.int64]] = {}
        reasons = dict(missing)
        for utterance, one in spoken.items():
            written = spoken_ids(scored.processor.form, [one], Framing()).ids
            if most is not None and len(written) > most:
                reasons[utterance] = f"{len(written)} ids, and the model has {most} positions"
            elif len(one.units) == 0:
                reasons[utterance] = "no unit"
            else:
                ids[utterance] = written
        if reasons:
            first = "; ".join(f"{one} ({reason})" for one, reason in list(reasons.items())[:_NAMED])
            print(f"{len(reasons)} utterances of {name} are left out of the alignment: {first}", flush=True)
        if not ids:
            return {}
        units = [scored.processor.vocabulary.is_unit(one) for one in ids.values()]
        batches = self.batch_tokens, f"hidden states of {name}"
        return dict(zip(ids, pooled_states(scored.tasks.model, list(ids.values()), units, *batches), strict=True))

    def _rows(self, pairs: Sequence[Parallel], states: States) -> list[Record]:
        """A row for each sentence of two languages that has another one to be compared with."""
        there = [pair for pair in pairs if all(one.id in states for one in pair)]
        if not there:
            return []
        first, second = (np.stack([states[pair[side].id] for pair in there]) for side in (0, 1))
        parallel, random, has_others = cosines(first, second, self._voices(there))
        return [
            {
                "group": one.group,
                "document": one.document,
                "parallel": [round(value, 7) for value in parallel[index].tolist()],
                "random": [round(value, 7) for value in random[index].tolist()],
            }
            for index, (one, _) in enumerate(there)
            if has_others[index]
        ]

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """Two rows for each set and pair of languages: the best layer, and the mean over layers."""
        columns: list[Column] = [
            ("parallel", "parallel", _cosine),
            ("random", "random", _cosine),
            ("parallel minus random", "difference", _cosine),
            ("n", "n", count),
            ("left out", "left_out", count),
        ]
        rows: dict[str, Record] = {}
        for name, by_languages in results.items():
            for languages, scores in by_languages.items():
                numbers = {key: scores[key] for key in ("n", "left_out") if key in scores}
                if "best_layer" in scores:
                    best = scores["best_layer"]
                    rows[f"{name}, {languages}, layer {best['layer']} (best)"] = {**best, **numbers}
                    rows[f"{name}, {languages}, mean over layers"] = {**scores["mean_over_layers"], **numbers}
                else:
                    rows[f"{name}, {languages}"] = numbers
        return [Table("Alignment of languages: cosine of hidden states", html_table(rows, columns))]


def _cosine(scores: Scores, name: str) -> str:
    """A cosine, with its interval small beside it; a dash where there is none."""
    value = scores.get(name)
    if value is None:
        return "–"
    low_high = scores.get(f"{name}_interval")
    return f"{value:.3f}" + (f" <small>{low_high[0]:.3f}–{low_high[1]:.3f}</small>" if low_high else "")
