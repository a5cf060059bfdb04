"""The family s3 on the package's own networks, at small size, from ONNX files with the names of the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

s3tokenizer = pytest.importorskip("s3tokenizer", reason="s3tokenizer belongs to the fairseq2 stack")
onnx = pytest.importorskip("onnx")

from cslm.codecs.families import load_codec  # noqa: E402
from cslm.encoders.runtime import Runtime  # noqa: E402
from cslm.errors import UserError  # noqa: E402
from tests.worlds.s3_models import RATES, network, write_card, write_onnx  # noqa: E402
from tests.worlds.small_corpus import glide  # noqa: E402

CLIPS = [glide(seed, duration_sec) for seed, duration_sec in enumerate((0.3, 2.1, 0.9, 1.37))]


@pytest.fixture(scope="module", params=sorted(RATES))
def card(request, tmp_path_factory) -> Path:
    return write_card(request.param, tmp_path_factory.mktemp("s3"))


def rewrite(card: Path, folder: Path, **changes: object) -> Path:
    values = {**yaml.safe_load(card.read_text()), **changes}
    values["weights"] = {"source": str(card.parent / "weights.onnx"), **changes.get("weights", {})}
    (folder / "card.yaml").write_text(yaml.safe_dump(values))
    return folder / "card.yaml"


def test_units_are_those_of_the_package(card):
    codec = load_codec(card, Runtime(batch_sec=1e-6))
    name = yaml.safe_load(card.read_text())["parameters"]["model"]
    made = network(name)
    for clip, units in zip(CLIPS, codec.encode(CLIPS), strict=True):
        spectrum, length = s3tokenizer.padding([s3tokenizer.log_mel_spectrogram(torch.from_numpy(clip))])
        codes, count = made.quantize(spectrum, length)
        assert units.ids[:, 0].tolist() == codes[0, : count[0]].tolist()
        assert len(set(units.ids[:, 0].tolist())) > 1 or len(clip) < 8000
    assert codec.frame_rate_hz == RATES[name]


def test_neighbours_change_nothing(card):
    alone = load_codec(card, Runtime(batch_sec=1e-6)).encode(CLIPS)
    together = load_codec(card).encode(CLIPS)
    changed = sum((a.ids != b.ids).sum() for a, b in zip(alone, together, strict=True))
    assert changed == 0


def test_a_long_utterance_is_encoded_alone_and_whole(card):
    long = np.tile(glide(7, 8.0), 5)  # 40 s
    codec = load_codec(card)
    with_short = codec.encode([CLIPS[0], long])
    assert with_short[0].ids.tolist() == codec.encode([CLIPS[0]])[0].ids.tolist()
    assert len(with_short[1]) == pytest.approx(40 * codec.frame_rate_hz, abs=2)


def test_the_fingerprint_is_of_the_weights_not_of_the_file(card, tmp_path):
    values = yaml.safe_load(card.read_text())
    again = write_onnx(values["parameters"]["model"], tmp_path / "again.onnx")
    copy = rewrite(card, tmp_path, weights={"source": str(again)})
    assert load_codec(copy).fingerprint == load_codec(card).fingerprint
    model = onnx.load(again)
    first = onnx.numpy_helper.to_array(model.graph.initializer[0]) + np.float32(0.01)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(first, model.graph.initializer[0].name))
    onnx.save(model, again)
    assert load_codec(copy).fingerprint != load_codec(card).fingerprint


def test_bad_cards_and_weights_are_named(card, tmp_path):
    parameters = yaml.safe_load(card.read_text())["parameters"]
    with pytest.raises(UserError, match="model 'speech_tokenizer_v9'; s3 knows speech_tokenizer_v1,"):
        load_codec(rewrite(card, tmp_path, parameters={**parameters, "model": "speech_tokenizer_v9"}))
    with pytest.raises(UserError, match="unknown parameter layers"):
        load_codec(rewrite(card, tmp_path, parameters={**parameters, "layers": 3}))
    with pytest.raises(UserError, match="there is no file .*none.onnx"):
        load_codec(rewrite(card, tmp_path, weights={"source": "none.onnx"}))
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"junk.onnx, named by .*, does not hold speech_tokenizer"):
        load_codec(rewrite(card, tmp_path, weights={"source": str(tmp_path / "junk.onnx")}))
    with pytest.raises(UserError, match=r"says \(16000, 12.5, .* its weights have \(16000, "):
        load_codec(rewrite(card, tmp_path, frame_rate_hz=12.5))
    with pytest.raises(UserError, match=r"says .*\(100,\)\) .* its weights have"):
        load_codec(rewrite(card, tmp_path, codebook_sizes=[100]))


def test_too_short(card):
    with pytest.raises(UserError, match="too short: 399 samples"):
        load_codec(card).encode([CLIPS[0][:399]])
