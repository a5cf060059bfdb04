"""Parameters of ``mel_kmeans``: what decides its features and how its units change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cslm.errors import UserError


@dataclass(frozen=True)
class MelKMeansParameters:
    """What decides the features. All of it is on the card and in the fingerprint."""

    sample_rate_hz: int = 16000
    """Rate of the waveforms."""
    frame_rate_hz: float = 100.0
    """Units a second, before repeats are merged."""
    spectra_per_frame: int = 1
    """Spectra taken in each frame: 1 at 100 Hz and 4 at 25 Hz are one every 10 ms."""
    num_bands: int = 40
    """Mel bands."""
    f_min_hz: float = 60.0
    """Lowest frequency."""
    f_max_hz: float = 7600.0
    """Highest frequency."""
    floor_db: float = 60.0
    """Bands more than this below the loudest of the utterance count as silent."""
    fixed_level: int = 0
    """1: levels count from full scale, and not from the loudest of the utterance. With mean_share 0, num_warps 1 and
    change_penalty 0, units are then known while the utterance is still spoken."""
    num_cepstra: int = 13
    """Cepstra kept, the level included."""
    mean_share: float = 1.0
    """Share of the utterance's mean cepstrum that is taken off (0: none)."""
    mean_prior_sec: float = 0.3
    """The corpus's mean counts as much as so many seconds of the utterance, which steadies short ones."""
    speech_db: float = 30.0
    """Spectra more than this below the loudest are silence, and not in the mean."""
    context: int = 7
    """Spectra averaged around the middle of a frame (a Hann window); odd."""
    delta_span: int = 8
    """Spectra on each side from which the rate of change is taken."""
    delta_weight: float = 1.0
    """Weight of the rate of change; the cepstra weigh 1."""
    whitening: float = 0.5
    """From 0 (dimensions keep their relative variances) to 1 (all dimensions vary alike)."""
    warp_range: float = 0.18
    """Frequencies are stretched by up to this share either way, for vocal tracts of other lengths (0: not at all)."""
    num_warps: int = 7
    """Stretches tried; the one whose frames lie nearest to the centroids is taken. Odd."""
    warp_step: int = 4
    """From one frame to the next that counts for the choice of the stretch."""
    change_penalty: float = 15.0
    """What a change of unit costs, as a squared distance of features (about 7 from a frame to its centroid); 0 takes
    the nearest centroid of each frame."""


def parameters_from(values: Mapping[str, Any], where: str) -> MelKMeansParameters:
    """Parameters from plain values.

    Raises:
        UserError: an unknown name, a wrong type, or a number that makes no sense.
    """
    fields = {name: type(value) for name, value in dataclasses.asdict(MelKMeansParameters()).items()}
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"{where}: unknown parameter {name}; known: {', '.join(fields)}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (fields[name] is int and value != int(value)):
            raise UserError(f"{where}: {name} must be of type {fields[name].__name__}, is {value!r}")
        typed[name] = fields[name](value)
    parameters = MelKMeansParameters(**typed)
    _check(parameters, where)
    return parameters


def _check(p: MelKMeansParameters, where: str) -> None:
    hop = p.sample_rate_hz / p.frame_rate_hz if p.frame_rate_hz > 0 else 0.0
    half_rate = p.sample_rate_hz / 2
    sizes = (p.floor_db, p.speech_db, p.mean_prior_sec, p.delta_weight, p.change_penalty)
    rules = {
        "frame_rate_hz must divide sample_rate_hz into whole frames": hop >= 1 and hop == int(hop),
        "spectra_per_frame must divide a frame into whole samples": p.spectra_per_frame
        > 0
        == hop % p.spectra_per_frame,
        "f_min_hz and f_max_hz must lie between 0 and half of sample_rate_hz": 0
        <= p.f_min_hz
        < p.f_max_hz
        <= half_rate,
        "num_cepstra must lie between 1 and num_bands": 1 <= p.num_cepstra <= p.num_bands,
        "context must be odd and delta_span at least 1": p.context >= 1 and p.context % 2 == 1 and p.delta_span >= 1,
        "floor_db, speech_db, mean_prior_sec, delta_weight and change_penalty must not be negative": min(sizes) >= 0,
        "warp_range must lie between 0 and 0.5, num_warps be odd": 0 <= p.warp_range <= 0.5 and p.num_warps % 2 == 1,
        "warp_step must be at least 1": p.warp_step >= 1,
        "fixed_level must be 0 or 1": p.fixed_level in (0, 1),
    }
    for rule, holds in rules.items():
        if not holds:
            raise UserError(f"{where}: {rule}")
