"""Likelihood of pairs: how often the model finds the right one of two stretches of speech likelier than the wrong one.

sWUGGY, sBLIMP, spoken StoryCloze and TopicCloze and SALMon from their folders, and pairs of any languages from
manifests (cross-lingual interleaving, arXiv 2512.01865, evaluation). Accuracy is slamkit's: the mean negative
log-likelihood of the ids decides, and a tie is half right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cslm.errors import UserError
from cslm.evaluation.pair_folders import PairFolder, recorded_pairs
from cslm.evaluation.pair_manifest import PairManifest, read_pairs
from cslm.evaluation.pair_rows import Side, pair_scores
from cslm.evaluation.paired_tests import NUM_RESAMPLES
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Scores, Table, count, html_table, percent
from cslm.evaluation.scored_model import ScoredModel
from cslm.evaluation.scored_pairs import PairSet, read_folder, read_manifest, score_sides, unscorable, written_sides
from cslm.evaluation.spoken_sequences import AROUND, COUNTED, Framing
from cslm.ranges import Range, check_numbers

ROWS, LEFT_OUT = "pairs.jsonl", "pairs_left_out.jsonl"
UNSCORABLE = ("refuse", "leave_out")
AMONG = ("all", "units")
_NAMED = 5


@dataclass
class PairsScore(Score):
    """Likelihood of pairs."""

    folders: dict[str, PairFolder] = field(default_factory=dict)
    """folders of pairs of recordings in slamkit's layouts, by the name that results give them"""
    manifests: dict[str, PairManifest] = field(default_factory=dict)
    """manifests of pairs, by the name that results give them"""
    around: str = "document"
    """what stands around the speech: document, what begins and ends documents of training; ends, what ends them, on
    both sides (slamkit); nothing"""
    markers: bool = True
    """<sosp> and <eosp> stand around each utterance, where training writes them; false leaves them out"""
    counted: str = "all"
    """which ids count: all behind the first (slamkit), or units alone"""
    among: str = "all"
    """probability is shared among all ids, or among units and what stands around them alone: units"""
    unscorable: str = "refuse"
    """where utterances are missing, cannot be read or are too long for the model: refuse, or leave_out those pairs,
    which are counted and listed in pairs_left_out.jsonl"""
    batch_tokens: int = 8192
    """ids read together, padding included"""
    num_resamples: int = NUM_RESAMPLES
    """of documents, for intervals"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value that is none of those that there are, out of range, or a name given twice.
        """
        for name, known in (("around", AROUND), ("counted", COUNTED), ("among", AMONG), ("unscorable", UNSCORABLE)):
            if getattr(self, name) not in known:
                raise UserError(f"scores.pairs.{name} is {getattr(self, name)!r}: choose one of {', '.join(known)}")
        check_numbers(self, "scores.pairs", batch_tokens=Range(least=1), num_resamples=Range(least=100))
        both = self.folders.keys() & self.manifests.keys()
        if both:
            raise UserError(f"scores.pairs names both folders and manifests {min(both)!r}: give one another name")

    def files(self) -> Sequence[str]:
        """The manifests of pairs, and what they come from."""
        return [file for manifest in self.manifests.values() for file in manifest.files()]

    def check(self, scored: ScoredModel) -> None:
        """There are pairs, and the model has the units for them.

        Raises:
            UserError: there are none, they cannot be read, or they are of other units.
        """
        if not self.folders and not self.manifests:
            raise UserError(
                "scores.pairs names no pairs: give folders or manifests, by the names that results give them"
            )
        assert scored.processor.vocabulary
        for name, manifest in self.manifests.items():
            read_pairs(scored.path(manifest.pairs), manifest.kinds)
            manifest.check(scored, f"scores.pairs.manifests.{name}")
        for folder in self.folders.values():
            scored.processor.speech_tokenizer()
            recorded_pairs(folder, Path(scored.config.data_root), [])

    def compute(self, scored: ScoredModel) -> Computed:
        """By set, kind and direction, from the rows of pairs.jsonl.

        Raises:
            UserError: pairs that cannot be scored, where they are not to be left out.
        """
        found = Computed({}, {ROWS: []})
        for name in [*self.folders, *self.manifests]:
            folder = self.folders.get(name)
            pairs = read_folder(scored, folder) if folder else read_manifest(scored, self.manifests[name])
            sides, reasons = self._sides(scored, pairs)
            self._tell(name, reasons, len(pairs.pairs))
            units_alone = self.among == "units"
            rows = score_sides(scored, pairs, sides, self.batch_tokens, units_alone, f"score the pairs of {name}")
            found.results[name] = self._results(scored, pairs, rows, reasons)
            found.files[ROWS] += [{"set": name, **row} for row in rows]
            if reasons:
                left_out = [{"set": name, "id": pair, "reason": reason} for pair, reason in reasons.items()]
                found.files.setdefault(LEFT_OUT, []).extend(left_out)
        return found

    def _sides(self, scored: ScoredModel, pairs: PairSet) -> tuple[dict[str, tuple[Side, Side]], dict[str, str]]:
        """The sides of each pair that can be scored by its id, and of each other one, why it cannot."""
        sides: dict[str, tuple[Side, Side]] = {}
        reasons: dict[str, str] = {}
        framing = Framing(self.around, self.markers, self.counted)
        for pair in pairs.pairs:
            reason = pairs.lacks(pair)
            if reason is None:
                written = written_sides(scored.processor.form, pair, pairs.spoken, framing)
                reason = unscorable(scored.tasks.model, written)
            if reason is None:
                sides[pair.id] = written
            else:
                reasons[pair.id] = reason
        return sides, reasons

    def _tell(self, name: str, reasons: Mapping[str, str], num_pairs: int) -> None:
        if not reasons:
            return
        first = "; ".join(f"{pair} ({reason})" for pair, reason in list(reasons.items())[:_NAMED])
        said = f"{len(reasons)} of {num_pairs} pairs of {name} cannot be scored: {first}"
        if self.unscorable == "refuse":
            raise UserError(f"{said}: mend them, or set scores.pairs.unscorable to leave_out")
        print(f"{said}; all are listed in {LEFT_OUT}", flush=True)

    def _results(
        self, scored: ScoredModel, pairs: PairSet, rows: Sequence[Record], reasons: Mapping[str, str]
    ) -> dict[str, dict[str, Record]]:
        """By kind and direction; what was left out is counted there."""
        by_id = {row["id"]: row for row in rows}
        groups: dict[str, dict[str, list[str]]] = {}
        for pair in pairs.pairs:
            groups.setdefault(pair.kind, {}).setdefault(pairs.direction(pair), []).append(pair.id)
        results: dict[str, dict[str, Record]] = {}
        for kind, by_direction in groups.items():
            for direction, names in by_direction.items():
                scores = pair_scores([by_id[n] for n in names if n in by_id], self.num_resamples, scored.bootstrap())
                left_out = sum(name in reasons for name in names)
                scores |= {"left_out": left_out} if left_out else {}
                results.setdefault(kind, {})[direction] = scores
        return results

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """A row for each set, kind and direction; intervals are those over documents where there are some."""
        columns: list[Column] = [
            ("right by the mean", "accuracy", _percent),
            ("by the sum", "sum_accuracy", _percent),
            ("ending given the prefix", "ending_accuracy", _percent),
            ("by the sum", "ending_sum_accuracy", _percent),
            ("ending only", "ending_only_accuracy", _percent),
            ("by the sum", "ending_only_sum_accuracy", _percent),
            ("ties", "ties", _ties),
            ("n", "n", count),
            ("left out", "left_out", count),
        ]
        rows = {
            ", ".join(part for part in dict.fromkeys((name, kind, direction))): scores
            for name, by_kind in results.items()
            for kind, by_direction in by_kind.items()
            for direction, scores in by_direction.items()
        }
        return [Table("Pairs: the right one is likelier", html_table(rows, columns))]


def _percent(scores: Scores, name: str) -> str:
    by_document = scores.get(f"{name}_interval_by_document")
    return percent(scores if by_document is None else {**scores, f"{name}_interval": by_document}, name)


def _ties(scores: Scores, name: str) -> str:
    """Ties by the mean of the whole."""
    return count(scores[name], "accuracy")
