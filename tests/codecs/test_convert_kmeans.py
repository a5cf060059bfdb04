from __future__ import annotations

import hashlib

import joblib
import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save_file
from sklearn.cluster import MiniBatchKMeans

from cslm.cli import dispatch
from cslm.codecs.card import load_card
from cslm.codecs.convert_kmeans import ConvertKmeansConfig, convert_kmeans, read_centroids
from cslm.codecs.families import load_codec
from cslm.errors import UserError
from cslm.files.shipped_files import shipped_folders
from tests.worlds.small_corpus import glide
from tests.worlds.ssl_models import save_model

CENTROIDS = np.random.default_rng(0).normal(size=(6, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A card as this project ships them: facts, no centroids, no fingerprint."""
    folder = tmp_path_factory.mktemp("published")
    model = save_model("hubert_base", folder / "model")
    values = {
        "name": "small-l2-km6",
        "family": "ssl_kmeans",
        "sample_rate_hz": 16000,
        "frame_rate_hz": 50.0,
        "codebook_sizes": [6],
        "parameters": {"layer": 2, "normalize_waveform": False, "version": 1, "channels": "mean"},
        "weights": {"source": str(model)},
        "origin": {"centroids": "https://example.org/km.bin"},
    }
    (folder / "published.yaml").write_text(yaml.safe_dump(values))
    return folder / "published.yaml"


def pickled(folder):
    estimator = MiniBatchKMeans(6, n_init=1).fit(np.repeat(CENTROIDS, 3, axis=0))
    estimator.cluster_centers_ = CENTROIDS.astype(np.float64)
    joblib.dump(estimator, folder / "km.bin")
    return folder / "km.bin"


def test_a_pickle_of_scikit_learn_becomes_tensors_beside_the_card(published, tmp_path, capsys):
    file = pickled(tmp_path)
    output = tmp_path / "mine.yaml"
    with pytest.raises(UserError, match="download https://example.org/km.bin and run cslm convert-kmeans"):
        load_codec(published)
    with pytest.raises(UserError, match=r"runs code of whoever made it .* --allow_pickle true"):
        convert_kmeans(ConvertKmeansConfig(str(file), str(published), str(output)))
    assert not output.exists()
    own = ["--tokenizer", str(published), "--output", str(output), "--allow_pickle", "true"]
    dispatch(["convert-kmeans", str(file), *own])
    card = load_card(output)
    assert card.fingerprint is not None
    assert card.origin["converted_from"] == {"file": "km.bin", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    codec = load_codec(output)
    np.testing.assert_array_equal(codec.tensors["centroids"], CENTROIDS)
    assert len(codec.encode([glide(0, 1.0)])[0]) == 49
    dispatch(["convert-kmeans", str(file), *own])
    assert "already holds these centroids" in capsys.readouterr().out


def test_arrays(tmp_path):
    np.save(tmp_path / "c.npy", CENTROIDS)
    save_file({"centroids": CENTROIDS, "other": CENTROIDS + 1}, tmp_path / "c.safetensors")
    for name in ("c.npy", "c.safetensors"):
        np.testing.assert_array_equal(read_centroids(tmp_path / name), CENTROIDS)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: np.save(file, CENTROIDS[0]), r"float32 of shape \(32,\): centroids are numbers \(K, dims\)"),
        (lambda file: np.save(file, np.full((2, 3), np.nan)), "centroids are numbers"),
        (lambda file: np.save(file, np.ones((2, 3), np.int64)), "int64"),
        (lambda file: np.save(file, np.array([{}]), allow_pickle=True), "cannot be read as centroids"),
        (lambda file: file.write_bytes(b"junk"), "cannot be read as centroids"),
    ],
)
def test_files_without_centroids(tmp_path, write, message):
    write(tmp_path / "c.npy")
    with pytest.raises(UserError, match=message):
        read_centroids(tmp_path / "c.npy")


def test_what_does_not_fit_the_card(published, tmp_path):
    np.save(tmp_path / "five.npy", CENTROIDS[:5])
    np.save(tmp_path / "wide.npy", np.ones((6, 40), np.float32))
    output = tmp_path / "mine.yaml"
    for name, message in (("five", "holds 5 centroids, small-l2-km6 has 6 units"), ("wide", r"should be \(6, 32\)")):
        with pytest.raises(UserError, match=message):
            convert_kmeans(ConvertKmeansConfig(str(tmp_path / f"{name}.npy"), str(published), str(output)))
        assert [file.name for file in tmp_path.glob("mine*")] == []
    with pytest.raises(UserError, match="no such file with centroids"):
        convert_kmeans(ConvertKmeansConfig(str(tmp_path / "none.npy"), str(published), str(output)))


def test_a_card_that_knows_its_file_takes_no_other(published, tmp_path):
    values = yaml.safe_load(published.read_text())
    values["origin"]["centroids_sha256"] = "0" * 64
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump(values))
    file = pickled(tmp_path)
    with pytest.raises(UserError, match=r"is not the file of the card small-l2-km6 \(sha256"):
        convert_kmeans(ConvertKmeansConfig(str(file), str(tmp_path / "strict.yaml"), str(tmp_path / "mine.yaml"), True))


def test_another_output_is_not_overwritten(published, tmp_path):
    np.save(tmp_path / "a.npy", CENTROIDS)
    np.save(tmp_path / "b.npy", CENTROIDS + 1)
    convert_kmeans(ConvertKmeansConfig(str(tmp_path / "a.npy"), str(published), str(tmp_path / "mine.yaml")))
    with pytest.raises(UserError, match="holds other centroids"):
        convert_kmeans(ConvertKmeansConfig(str(tmp_path / "b.npy"), str(published), str(tmp_path / "mine.yaml")))


def test_shipped_cards_say_where_everything_is():
    cards = [load_card(file) for file in shipped_folders("tokenizers")[0].glob("*.yaml")]
    assert {card.name for card in cards if card.family == "ssl_kmeans"} == {
        "hubert-base-l9-km500",
        "mhubert-25hz-l11-km500",
    }
    for card in cards:
        assert load_card(card.name) == card
        assert card.weights is not None
        assert {"licence_of_weights", "paper"} <= set(card.origin)
        if card.family == "ssl_kmeans":
            assert {"centroids", "centroids_sha256"} <= set(card.origin)


def test_arrays_of_numpy_and_torch_are_read_as_data(tmp_path):
    np.savez(tmp_path / "c.npz", centroids=CENTROIDS, other=CENTROIDS + 1)
    torch.save(torch.from_numpy(CENTROIDS), tmp_path / "c.pt")
    torch.save({"centroids": torch.from_numpy(CENTROIDS), "step": 3}, tmp_path / "d.pt")
    for name in ("c.npz", "c.pt", "d.pt"):
        np.testing.assert_array_equal(read_centroids(tmp_path / name), CENTROIDS)


def test_a_pickle_of_a_class_that_is_gone_is_one_line(tmp_path):
    (tmp_path / "km.bin").write_bytes(b"csklearn.cluster.k_means_old\nOldKMeans\n(tR.")
    with pytest.raises(UserError, match="km.bin cannot be read as centroids: .*k_means_old"):
        read_centroids(tmp_path / "km.bin", allow_pickle=True)
    (tmp_path / "km2.bin").write_bytes(b"csklearn.cluster\nOldKMeans\n(tR.")
    with pytest.raises(UserError, match="km2.bin cannot be read as centroids: .*OldKMeans"):
        read_centroids(tmp_path / "km2.bin", allow_pickle=True)


@pytest.mark.parametrize("name", ["km.bin", "km.npy", "km.pt"])
def test_a_web_page_in_place_of_centroids_is_called_one(tmp_path, name):
    (tmp_path / name).write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(UserError, match="is a web page, not the centroids: download the file itself"):
        read_centroids(tmp_path / name, allow_pickle=True)


def test_centroids_that_are_not_numbers_are_called_so(tmp_path):
    wrong = CENTROIDS.copy()
    wrong[2, 5] = np.nan
    np.save(tmp_path / "c.npy", wrong)
    with pytest.raises(UserError, match="1 of 6 rows hold NaN or infinity"):
        read_centroids(tmp_path / "c.npy")
