"""Every family keeps the whole contract: ``UnitCodec``, ``CardCodec``, ``CodecFamily``, ``FittableFamily``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cslm.codecs.card import card_tensors, load_card, save_card
from cslm.codecs.families import FAMILIES, card_centroids, family_class, load_codec
from cslm.codecs.fit_tokenizer import FitTokenizerConfig, fit_tokenizer
from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from tests.worlds.small_codecs import CLIPS as FITTED_ON
from tests.worlds.small_codecs import MAKERS, NUM_UNITS
from tests.worlds.small_corpus import contents, glide

FITTABLE = {"mel_kmeans", "ssl_kmeans", "fairseq2_kmeans"}
WITH_DECODER = {"mimi", "speechtokenizer"}
WITHOUT_TABLES = {"s3"}
LENGTHS_SEC = (0.3, 1.9, 0.93, 1.37)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def card(request, tmp_path_factory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def family(card):
    return load_card(card).family


@pytest.fixture(scope="module")
def codec(card):
    return load_codec(card)


@pytest.fixture(scope="module")
def clips(codec):
    return [glide(20 + seed, seconds, codec.sample_rate_hz) for seed, seconds in enumerate(LENGTHS_SEC)]


def ids(units):
    return [one.ids.tolist() for one in units]


def test_every_family_has_a_small_codec():
    assert set(MAKERS) == set(FAMILIES)


def test_a_class_says_what_its_codecs_say(codec, family):
    assert family_class(family).family == family
    assert family_class(family).is_neural is codec.is_neural
    assert codec.name == "small"


def test_units_are_one_row_a_frame_and_within_their_codebooks(codec, clips):
    for clip, units in zip(clips, codec.encode(clips), strict=True):
        assert units.durations is None
        assert units.ids.dtype == np.int64
        assert units.ids.shape[1] == len(codec.codebook_sizes)
        assert (units.ids >= 0).all() and (units.ids < np.array(codec.codebook_sizes)).all()
        seconds = len(clip) / codec.sample_rate_hz
        assert len(units) == pytest.approx(seconds * codec.frame_rate_hz, abs=2)


def test_neighbours_batches_and_order_change_nothing(codec, clips):
    alone = [codec.encode([clip])[0].ids.tolist() for clip in clips]
    assert ids(codec.encode(clips)) == alone
    assert ids(codec.encode(clips[::-1])) == alone[::-1]
    assert ids(codec.encode(clips, AudioBatches(1e-6))) == alone
    assert codec.encode([]) == []


def test_the_shortest_that_has_units(codec):
    shortest = glide(3, 1.0, codec.sample_rate_hz)[: codec.min_num_samples]
    assert len(codec.encode([shortest])[0]) >= 1
    with pytest.raises(UserError, match=f"too short: {len(shortest) - 1} samples, one frame has {len(shortest)}"):
        codec.encode([shortest, shortest[:-1]])


def test_a_saved_card_brings_back_the_same_codec(codec, card, clips, tmp_path):
    saved = save_card(codec.card({"made": "here"}), tmp_path / "a" / "card.yaml", codec.tensors)
    assert saved.fingerprint == codec.fingerprint
    assert load_card(saved.path) == saved
    opened = load_codec(saved.path)
    assert opened.fingerprint == codec.fingerprint
    assert ids(opened.encode(clips)) == ids(codec.encode(clips))
    save_card(opened.card({"made": "here"}), tmp_path / "b" / "card.yaml", opened.tensors)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert bool(opened.tensors) == (saved.artefact is not None)
    if saved.artefact is not None:
        assert set(card_tensors(saved)) == set(opened.tensors)


def test_a_card_of_another_codec_is_refused(codec, tmp_path):
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)
    text = (tmp_path / "card.yaml").read_text().replace(codec.fingerprint, "sha256:" + "0" * 64)
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(UserError, match="made with another speech tokenizer"):
        load_codec(tmp_path / "card.yaml")


def test_decoding_gives_sound_or_is_refused(codec, family, clips):
    units = codec.encode(clips)[1]
    if family not in WITH_DECODER:
        with pytest.raises(UserError, match="the card small has no vocoder: train a decoder"):
            codec.decode(units)
        return
    waveform = codec.decode(units)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert len(waveform) == pytest.approx(len(clips[1]), abs=2 * codec.min_num_samples)


def test_tables_are_there_or_refused(codec, family, card):
    if family in WITHOUT_TABLES:
        with pytest.raises(UserError, match=f"family {family}.* has no centroids"):
            codec.centroids()
        return
    tables = codec.centroids()
    assert [len(table) for table in tables] == list(codec.codebook_sizes)
    assert all(table.ndim == 2 and np.isfinite(table).all() for table in tables)
    for table, found in zip(tables, card_centroids(load_card(card)), strict=True):
        assert np.array_equal(table, found)


def test_fitting_is_deterministic_or_refused(card, corpus, family, tmp_path):
    if family not in FITTABLE:
        config = FitTokenizerConfig([str(corpus)], str(tmp_path / "card.yaml"), family)
        with pytest.raises(UserError, match=f"the family {family} has codebooks of its own: nothing to fit"):
            fit_tokenizer(config)
        return
    made = family_class(family).fittable()
    with pytest.raises(UserError, match=r"here: unknown parameter colour"):
        made.parameters_from({"colour": "red"}, "here")
    known = load_card(card)
    values = {key: known.parameters[key] for key in ("layer", "architecture") if key in known.parameters}
    values |= {"model": known.weights.source} if known.weights is not None else {}
    parameters = made.parameters_from(values, "here")
    assert made.sample_rate_of(parameters) == known.sample_rate_hz
    given = {"name": "again", "parameters": parameters, "codebook_size": NUM_UNITS}
    again, facts = made.fit(FITTED_ON, **given, seed=0)
    assert again.fingerprint == known.fingerprint
    assert facts["num_frames"] > 0
    assert made.fit(FITTED_ON, **given, seed=1, runtime=Runtime())[0].fingerprint != known.fingerprint
    with pytest.raises(UserError, match="too little audio"):
        made.fit(FITTED_ON[:1], **{**given, "codebook_size": 5000}, seed=0)


def test_it_runs_as_it_is_told(card, clips, monkeypatch):
    sizes, groups = [], AudioBatches.groups

    def noting(batches, lengths, frame_rate_hz):
        sizes.append(batches.batch_sec)
        return groups(batches, lengths, frame_rate_hz)

    monkeypatch.setattr(AudioBatches, "groups", noting)
    codec = load_codec(card, Runtime(batch_sec=3.0))
    assert codec.runtime == Runtime(batch_sec=3.0)
    codec.encode(clips)
    assert sizes == [3.0]
    handed_in = AudioBatches(60.0)
    codec.encode(clips, handed_in)
    assert sizes == [3.0, 60.0]
    assert 0 < handed_in.num_frames < handed_in.num_slots


def test_how_it_runs_is_a_setting_and_nothing_else(codec):
    with pytest.raises(AttributeError):
        codec.runtime.batch_sec = 1.0
