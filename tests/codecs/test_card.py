from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cslm.codecs import algorithm
from cslm.codecs import card as card_module
from cslm.codecs.card import card_tensors, copy_card, find_card, load_card, save_card
from cslm.codecs.families import load_codec
from cslm.errors import UserError
from tests.worlds.small_corpus import contents


@pytest.fixture
def own_card(card: Path, tmp_path: Path) -> Path:
    """A copy of the card that a test may spoil."""
    return copy_card(card, tmp_path / "own")


def rewrite(path: Path, **changes: object) -> None:
    values = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        if value is None:
            del values[key]
        else:
            values[key] = value
    path.write_text(yaml.safe_dump(values))


def test_a_card_comes_back_as_it_was_written(card, tmp_path):
    first = load_card(card)
    saved = save_card(first, tmp_path / "again.yaml", card_tensors(first))
    again = load_card(tmp_path / "again.yaml")
    assert again == saved
    assert (again.parameters, again.fingerprint, again.origin) == (first.parameters, first.fingerprint, first.origin)
    assert load_codec(tmp_path / "again.yaml").fingerprint == first.fingerprint


def test_a_copy_stands_on_its_own(card, tmp_path):
    copied = copy_card(card, tmp_path / "speech")
    again = copy_card(copied, tmp_path / "other")
    assert sorted(contents(tmp_path / "speech")) == ["card.safetensors", "card.yaml"]
    assert contents(tmp_path / "speech") == contents(tmp_path / "other")
    assert load_codec(again).fingerprint == load_codec(card).fingerprint


def test_the_copy_of_a_card_finds_the_weights_that_lay_beside_it(tmp_path):
    """A relative place was copied as it stood, and a checkpoint with such a card did not open."""
    facts = {"sample_rate_hz": 16000, "frame_rate_hz": 25.0, "codebook_sizes": [4096], "parameters": {}}
    published = tmp_path / "published"
    published.mkdir()
    (published / "weights.onnx").write_bytes(b"weights")
    for source, expected in (("weights.onnx", str(published / "weights.onnx")), ("author/model", "author/model")):
        values = {"name": "x", "family": "s3", **facts, "weights": {"source": source}}
        (published / "card.yaml").write_text(yaml.safe_dump(values))
        copied = copy_card(published, tmp_path / "speech")
        assert load_card(copied).weights.source == expected
    assert copied.read_bytes() == (published / "card.yaml").read_bytes()


def test_a_folder_with_a_card_will_do(card):
    assert find_card(card.parent) == card


def test_order_and_path_do_not_change_the_fingerprint(own_card):
    values = yaml.safe_load(own_card.read_text())
    values["parameters"] = dict(reversed(values["parameters"].items()))
    own_card.write_text(yaml.safe_dump(dict(reversed(values.items())), sort_keys=False))
    assert load_codec(own_card).fingerprint == values["fingerprint"]


def test_a_card_is_found_by_name(own_card, tmp_path, monkeypatch):
    monkeypatch.setattr(card_module, "shipped_folders", lambda name: [tmp_path / "nowhere", own_card.parent])
    assert load_card("card").path == own_card
    with pytest.raises(UserError, match=r"called 'cart'; known: card"):
        load_card("cart")


def test_no_card_there(tmp_path):
    with pytest.raises(UserError, match=r"there is no speech-tokenizer card .*x\.yaml"):
        load_card(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": None}, "no family"),
        ({"colour": "red"}, "unknown key colour"),
        ({"codebook_sizes": "many"}, "bad number in codebook_sizes"),
        ({"parameters": [1]}, "parameters must be keys and values"),
    ],
)
def test_what_is_no_card(own_card, changes, message):
    rewrite(own_card, **changes)
    with pytest.raises(UserError, match=message):
        load_card(own_card)


def test_not_even_yaml(tmp_path):
    (tmp_path / "card.yaml").write_text("a: [1,")
    with pytest.raises(UserError, match=r"card\.yaml is not a card"):
        load_card(tmp_path)


def test_an_edited_parameter_is_noticed(own_card):
    parameters = {**load_card(own_card).parameters, "floor_db": 40.0}
    rewrite(own_card, parameters=parameters)
    with pytest.raises(UserError, match=r"what its file holds was made with another speech tokenizer"):
        load_codec(own_card)


def test_exchanged_tensors_are_noticed(own_card):
    first = load_card(own_card)
    tensors = card_tensors(first)
    save_card(first, own_card, {**tensors, "centroids": tensors["centroids"] + 1e-9})
    with pytest.raises(UserError, match="another speech tokenizer"):
        load_codec(own_card)


def test_missing_and_broken_tensors(own_card):
    own_card.with_suffix(".safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"card\.safetensors, named by the card"):
        load_codec(own_card)
    own_card.with_suffix(".safetensors").unlink()
    with pytest.raises(UserError, match=r"card\.safetensors, named by the card"):
        load_codec(own_card)


def test_tensors_of_another_shape(own_card):
    first = load_card(own_card)
    save_card(first, own_card, {**card_tensors(first), "mean": np.zeros(3)})
    with pytest.raises(UserError, match=r"mean should be"):
        load_codec(own_card)


def test_a_card_of_another_version(own_card):
    rewrite(own_card, parameters={**load_card(own_card).parameters, "version": 99})
    with pytest.raises(UserError, match="has version 99, this version of cslm 1"):
        load_codec(own_card)


def test_another_resampler_warns_and_keeps_the_fingerprint(own_card, monkeypatch):
    monkeypatch.setattr(algorithm, "RESAMPLER", "soxr-hq-9")
    with pytest.warns(UserWarning, match="resamplers differ, so a few units may: soxr-hq-.* soxr-hq-9 in this"):
        codec = load_codec(own_card)
    assert codec.fingerprint == load_card(own_card).fingerprint


def test_nothing_half_written(own_card, monkeypatch):
    before = contents(own_card.parent)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        save_card(load_card(own_card), own_card, {"centroids": np.zeros(2)})
    assert contents(own_card.parent) == before
    shutil.rmtree(own_card.parent)
