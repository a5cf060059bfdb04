"""Units of a stretch of speech: merged and expanded, cut, written.

A *unit* is an index into a codebook. A codec gives one row of units a frame; runs of equal rows may be merged
(CSLM section 3.1), and then every row carries its duration in frames, so that nothing about time is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.errors import UserError

# The longest run that one row of merged units may stand for: the store keeps durations in 16 bits.
LONGEST_RUN = 65535


@dataclass(frozen=True, eq=False)
class Units:
    """Units of one stretch of speech.

    ``ids`` is (num_rows, num_codebooks), integer: one row a frame, or one row a run of equal frames after merging.
    ``durations`` is (num_rows,): the frames of each run, at least 1; ``None`` where nothing was merged.
    """

    ids: NDArray[np.int64]
    durations: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        assert self.ids.ndim == 2, f"ids must be (num_rows, num_codebooks), got shape {self.ids.shape}"
        assert self.durations is None or self.durations.shape == (len(self.ids),), "one duration a row"

    def __len__(self) -> int:
        """Number of rows: frames, or runs after merging."""
        return len(self.ids)

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks, the width of ``ids``."""
        return int(self.ids.shape[1])

    @property
    def num_frames_total(self) -> int:
        """Number of frames that these units stand for, merged or not."""
        return len(self.ids) if self.durations is None else int(self.durations.sum())


def merge_repeats(units: Units) -> Units:
    """Merge runs of equal units; ``expand_repeats`` gives back the input exactly.

    A run longer than ``LONGEST_RUN`` frames (44 minutes at 25 Hz) becomes several rows.

    Raises:
        UserError: units of more than one codebook, whose rows hardly ever repeat.
    """
    if units.num_codebooks != 1:
        raise UserError(f"repeats are merged with one codebook only, these units have {units.num_codebooks}")
    if units.durations is not None:
        units = expand_repeats(units)
    ids = units.ids[:, 0]
    if len(ids) == 0:
        return Units(units.ids, np.zeros(0, np.int64))
    starts = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1])
    durations = np.diff(np.append(starts, len(ids)))
    if durations.max() > LONGEST_RUN:
        starts, durations = _split_long_runs(starts, durations)
    return Units(units.ids[starts], durations.astype(np.int64))


def expand_repeats(units: Units) -> Units:
    """One row a frame again; units without durations come back as they are."""
    if units.durations is None:
        return units
    return Units(np.repeat(units.ids, units.durations, axis=0))


def cut(units: Units, start_frame: int, stop_frame: int) -> Units:
    """The units of frames ``start_frame`` to ``stop_frame`` (exclusive); a run across a border is cut in two.

    Borders outside the units are moved inside. Works on merged and unmerged units, and keeps them so.
    """
    start = min(max(start_frame, 0), units.num_frames_total)
    stop = min(max(stop_frame, start), units.num_frames_total)
    if units.durations is None:
        return Units(units.ids[start:stop])
    ends = np.cumsum(units.durations)
    begins = ends - units.durations
    inside = np.minimum(ends, stop) - np.maximum(begins, start)
    kept = inside > 0
    return Units(units.ids[kept], inside[kept])


def unit_token(unit: int, codebook: int = 0) -> str:
    """The surface form of a unit: ``<12>`` in the first codebook, ``<1:12>`` in the second."""
    return f"<{unit}>" if codebook == 0 else f"<{codebook}:{unit}>"


def unit_string(ids: NDArray[np.int64]) -> str:
    """The surface forms of units (num_rows, num_codebooks), row by row."""
    return "".join(unit_token(unit, book) for row in ids.tolist() for book, unit in enumerate(row))


def _split_long_runs(starts: NDArray[np.int64], durations: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    pieces = -(-durations // LONGEST_RUN)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    offsets = (np.arange(pieces.sum()) - first) * LONGEST_RUN
    return np.repeat(starts, pieces) + offsets, np.minimum(np.repeat(durations, pieces) - offsets, LONGEST_RUN)
