from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from cslm.codecs import mel_features
from cslm.codecs.card import save_card
from cslm.codecs.codec import UnitCodec
from cslm.codecs.families import load_codec
from cslm.codecs.mel_features import MelFeatures
from cslm.codecs.mel_kmeans import MelKMeans
from cslm.codecs.mel_parameters import MelKMeansParameters, parameters_from
from cslm.codecs.mel_paths import steady_paths
from cslm.codecs.units import Units
from cslm.encoders.audio_batches import AudioBatches
from cslm.errors import UserError
from cslm.evaluation.error_rates import unit_errors
from tests.worlds.small_corpus import glide


@pytest.fixture(scope="session")
def codec(card: Path) -> UnitCodec:
    return load_codec(card)


@pytest.fixture(scope="session")
def clips() -> list[np.ndarray]:
    return [glide(100 + i, 0.25 + 0.31 * (i % 7)) for i in range(20)]


def ids(units: list[Units]) -> list[list[int]]:
    return [one.ids[:, 0].tolist() for one in units]


def test_neighbours_and_order_change_nothing(codec, clips):
    alone = [codec.encode([clip])[0] for clip in clips]
    assert ids(codec.encode(clips)) == ids(alone)
    assert ids(codec.encode(clips[::-1])) == ids(alone)[::-1]
    assert len({unit for row in ids(alone) for unit in row}) > 8


def test_threads_change_nothing(codec, clips):
    one_thread = ids(codec.encode(clips))
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert ids(codec.encode(clips)) == one_thread
    finally:
        torch.set_num_threads(before)


def test_blocks_of_a_long_utterance_change_nothing(codec, monkeypatch):
    clip = glide(7, 6.0)
    whole = ids(codec.encode([clip]))
    monkeypatch.setattr(mel_features, "_BLOCK_FRAMES", 37)
    assert ids(codec.encode([clip])) == whole


@pytest.mark.parametrize(("num_samples", "num_frames"), [(160, 1), (239, 1), (240, 2), (400, 3), (16000, 100)])
def test_number_of_frames(codec, num_samples, num_frames):
    assert len(codec.encode([glide(1, 1.0)[:num_samples]])[0]) == num_frames


def test_shorter_than_a_frame_is_too_short(codec):
    assert codec.min_num_samples == 160
    with pytest.raises(UserError, match="too short: 159 samples, one frame has 160"):
        codec.encode([np.zeros(159, np.float32)])


def test_silence_has_units(codec):
    assert len(codec.encode([np.zeros(6400, np.float32)])[0]) == 40


def test_the_level_does_not_matter(codec):
    clip = glide(3, 2.0)
    assert ids(codec.encode([clip * np.float32(0.25)])) == ids(codec.encode([clip]))


def test_a_warp_reads_a_tone_where_a_longer_tract_would_have_it():
    features = MelFeatures(MelKMeansParameters())
    assert (features.warps[3], len(features.warps)) == (1.0, 7)
    seconds = np.arange(16000) / 16000
    tone, higher = (np.sin(2 * np.pi * hz * seconds).astype(np.float32) for hz in (2000, 2000 * features.warps[5]))
    straight = features.cepstra(features.spectra(tone)[0])[3]
    distances = (features.cepstra(features.spectra(higher)[0]) - straight).square().sum(dim=(1, 2))
    assert distances.argmin() == 5


def test_there_is_no_vocoder(codec):
    with pytest.raises(UserError, match="has no vocoder"):
        codec.decode(Units(np.zeros((3, 1), np.int64)))


def test_fitting_is_deterministic_for_a_seed(clips):
    def fitted(seed: int) -> MelKMeans:
        return MelKMeans.fit(clips, name="x", parameters=MelKMeansParameters(), codebook_size=8, seed=seed)[0]

    assert fitted(0).fingerprint == fitted(0).fingerprint
    assert fitted(0).fingerprint != fitted(1).fingerprint


def test_too_little_audio(clips):
    with pytest.raises(UserError, match="too little audio: 25 frames for 32 units"):
        MelKMeans.fit(clips[:1], name="x", parameters=MelKMeansParameters(), codebook_size=32, seed=0)


def test_every_parameter_is_in_the_fingerprint(codec):
    tensors = codec.tensors
    known = MelKMeans("x", codec.parameters, tensors).fingerprint
    assert known == codec.fingerprint
    for field in dataclasses.fields(MelKMeansParameters):
        if field.name in ("num_cepstra", "num_bands", "sample_rate_hz", "frame_rate_hz", "spectra_per_frame"):
            continue  # these change shapes
        step = 2 if isinstance(field.default, int) else 0.125
        changed = dataclasses.replace(codec.parameters, **{field.name: field.default + step})
        assert MelKMeans("x", changed, tensors).fingerprint != known, field.name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": 1}, "unknown parameter colour; known: sample_rate_hz"),
        ({"num_bands": "many"}, "num_bands must be of type int, is 'many'"),
        ({"num_bands": 12.5}, "num_bands must be of type int"),
        ({"num_cepstra": 50}, "num_cepstra must lie between 1 and num_bands"),
        ({"frame_rate_hz": 30}, "frame_rate_hz must divide"),
        ({"frame_rate_hz": 0}, "frame_rate_hz must divide"),
        ({"spectra_per_frame": 3}, "spectra_per_frame must divide"),
        ({"f_max_hz": 9000}, "half of sample_rate_hz"),
        ({"context": 2}, "context must be odd"),
        ({"num_warps": 4}, "num_warps be odd"),
    ],
)
def test_bad_parameters(values, message):
    with pytest.raises(UserError, match=message):
        parameters_from(values, "the card")


def test_too_many_bands():
    with pytest.raises(UserError, match="a band holds no frequency"):
        MelFeatures(parameters_from({"num_bands": 200}, "here"))


def test_other_rates():
    features = MelFeatures(
        parameters_from({"sample_rate_hz": 8000, "f_max_hz": 3800, "frame_rate_hz": 50, "spectra_per_frame": 2}, "x")
    )
    assert (features.hop, features.spectrum_hop, features.num_frames(8000)) == (160, 80, 50)


def test_a_parameter_that_came_later_leaves_old_cards(codec, tmp_path):
    """change_penalty once refused every card that was fitted before it."""
    before = dataclasses.replace(codec.parameters, change_penalty=0.0, warp_step=1)
    old = MelKMeans("old", before, codec.tensors)
    save_card(old.card(), tmp_path / "card.yaml", old.tensors)
    assert "change_penalty" not in (tmp_path / "card.yaml").read_text()
    opened = load_codec(tmp_path / "card.yaml")
    assert (opened.parameters, opened.fingerprint) == (before, old.fingerprint)


def test_the_steady_path_is_the_cheapest_of_all():
    generator = torch.Generator().manual_seed(0)
    distances = torch.rand(3, 6, 3, generator=generator, dtype=torch.float64)
    lengths, penalty = [6, 4, 1], 0.1

    def cheapest(rows: torch.Tensor) -> tuple[int, ...]:
        def cost(path: tuple[int, ...]) -> float:
            changes = sum(a != b for a, b in itertools.pairwise(path))
            return float(rows[range(len(rows)), list(path)].sum()) + penalty * changes

        return min(itertools.product(range(3), repeat=len(rows)), key=cost)

    best = [cheapest(rows[:length]) for rows, length in zip(distances, lengths, strict=True)]
    assert [tuple(path.tolist()) for path in steady_paths([distances], lengths, penalty)] == best
    assert [tuple(path.tolist()) for path in steady_paths(distances.split(4, dim=1), lengths, penalty)] == best
    assert steady_paths([distances[:1]], [6], 0.0)[0].tolist() == distances[0].argmin(1).tolist()
    assert len(set(steady_paths([distances[:1]], [6], 1e9)[0].tolist())) == 1
    assert len(set(best[0])) > 1


def test_steady_units_do_not_depend_on_neighbours(codec, clips):
    steady = MelKMeans("steady", dataclasses.replace(codec.parameters, change_penalty=2.0), codec.tensors)
    alone = [steady.encode([clip])[0] for clip in clips]
    assert ids(steady.encode(clips)) == ids(alone)
    assert ids(steady.encode(clips, AudioBatches(0.3))) == ids(alone)


def test_steady_units_depend_less_on_where_a_frame_begins(clips):
    """At 25 Hz a shift by half a frame changes about half of the units, and no merging helps."""
    changed = {}
    for rate, spectra, penalty in ((25.0, 4, 0.0), (100.0, 1, 6.0)):
        parameters = MelKMeansParameters(frame_rate_hz=rate, spectra_per_frame=spectra, change_penalty=penalty)
        fitted, _ = MelKMeans.fit(clips, name="steady", parameters=parameters, codebook_size=32, seed=0)
        whole, later = ids(fitted.encode(clips)), ids(fitted.encode([clip[200:] for clip in clips]))
        merged = [[[unit for unit, _ in itertools.groupby(row)] for row in rows] for rows in (whole, later)]
        changed[rate] = unit_errors(*merged).rate
    assert changed[100.0] < 0.7 * changed[25.0]
