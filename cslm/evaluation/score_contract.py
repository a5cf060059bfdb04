"""What a score is: its settings, its check, its computation, its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cslm.errors import UserError
from cslm.evaluation.score_tables import Table
from cslm.evaluation.scored_model import ScoredModel

Record = dict[str, Any]


@dataclass
class Computed:
    """What a score found."""

    results: Record
    """its entry in results.json: plain values"""
    files: dict[str, list[Record]] = field(default_factory=dict)
    """lines of JSON Lines files beside results.json, by name; lines of several scores for one file are joined"""


@dataclass
class Score:
    """One score. A subclass is a dataclass of its settings, with a sentence under each field.

    To add one, write the class and list it in ``SCORES`` (:mod:`cslm.evaluation.scores`). Only the scores that a
    configuration names are imported, and packages that few scores need belong into ``compute``.
    """

    takes_audio_models: ClassVar[bool] = False
    """whether it asks for answers to recordings alone, which any audio-text model gives"""

    def files(self) -> Sequence[str]:
        """The files that it reads, from the data root on: they are looked for before the model is opened."""
        return ()

    def check(self, scored: ScoredModel) -> None:
        """Say before any score is computed what the model lacks for this one.

        Raises:
            UserError: it cannot be scored so.
        """

    def compute(self, scored: ScoredModel) -> Computed:
        """Score the model.

        Raises:
            UserError: a test set that cannot be read or does not fit together.
        """
        raise NotImplementedError

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """What report and model card show of ``Computed.results``, which may come from a file."""
        raise NotImplementedError


def check_files(root: Path, names: Sequence[str]) -> None:
    """Every file that will be read is there: said at once, not after minutes of work.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if not (root / name).is_file():
            raise UserError(
                f"{root / name}: there is no such file: prepare the corpus, or give its folder as data_root"
            )
