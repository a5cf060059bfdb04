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
from tests.worlds.small_corpus import glide  # noqa: E402

CLIPS = [glide(seed, duration_sec) for seed, duration_sec in enumerate((0.3, 2.1, 0.9, 1.37))]
SMALL = {"n_audio_state": 128, "n_audio_head": 2, "n_audio_layer": 2}
RATES = {"speech_tokenizer_v1": 50.0, "speech_tokenizer_v1_25hz": 25.0, "speech_tokenizer_v2_25hz": 25.0}
FIRST_CONV = {"speech_tokenizer_v1": 1519, "speech_tokenizer_v2_25hz": 2216}


def network(name: str):
    from s3tokenizer import model, model_v2

    torch.manual_seed(0)
    own, kind = (model_v2, model_v2.S3TokenizerV2) if "v2" in name else (model, model.S3Tokenizer)
    made = kind(name, own.ModelConfig(**SMALL)).eval()
    with torch.no_grad():
        for key, tensor in made.state_dict().items():
            if "embed" in key and "positional" not in key:
                tensor.copy_(torch.nn.functional.normalize(torch.randn_like(tensor), dim=-1))
            elif "project_down.weight" in key:
                tensor.mul_(20)
    return made


def write_onnx(name: str, file: Path) -> Path:
    """The network's tensors under the names that the published files give them."""
    nodes, initializers = [], []

    def add(node_name: str, tensors: dict[str, torch.Tensor], kind: str = "MatMul") -> None:
        initializers.extend(onnx.numpy_helper.from_array(t.contiguous().numpy(), key) for key, t in tensors.items())
        nodes.append(onnx.helper.make_node(kind, ["x", *tensors], [f"{node_name}_out"], name=node_name))

    state = network(name).state_dict()
    conv = FIRST_CONV.get(name)
    for index, key in enumerate(("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")):
        initial = f"onnx::Conv_{conv + index}" if conv else f"encoders.{key}"
        add(f"/{key}", {initial: state.pop(f"encoder.{key}")}, "Conv")
    for key, tensor in state.items():
        short = key.removeprefix("encoder.").replace(".mlp.", ".mlp/mlp.")
        part, _, last = short.rpartition(".")
        path = "/" + part.replace(".attn.", "/attn/").replace(".mlp/", "/mlp/").replace("_ln", "_ln")
        path = path.replace("blocks.0.", "blocks.0/").replace("blocks.1.", "blocks.1/")
        if key.endswith("positional_embedding"):
            add("/Add", {"encoders.positional_embedding": tensor})
        elif key.endswith("_codebook.embed"):
            add("/quantizer/rq/model/layers.0/_codebook/Pow_1", {"codebook": tensor.T})
        elif "project_down" in key:
            add("/quantizer", {"onnx::MatMul_2536" if last == "weight" else "quantizer.project_in.bias": tensor.T})
        elif "fsmn_block" in key:
            add(f"{path}/Conv", {f"onnx::{key}": tensor}, "Conv")
        elif "_ln" in key and "v2" in name:
            if last == "weight":
                both = {f"{key}": tensor, f"{part}.b": state[f"encoder.{part}.bias"]}
                add(f"{path}/LayerNormalization", both, "LayerNormalization")
        elif "_ln" in key:
            add(f"{path}/{'Mul' if last == 'weight' else 'Add_1'}", {f"onnx::{key}": tensor})
        else:
            add(f"{path}/{'MatMul' if last == 'weight' else 'Add'}", {f"onnx::{key}": tensor.T})
    graph = onnx.helper.make_graph(nodes, "s3", [], [], initializers)
    onnx.save(onnx.helper.make_model(graph), file)
    return file


@pytest.fixture(scope="module", params=sorted(RATES))
def card(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("s3")
    write_onnx(request.param, folder / "weights.onnx")
    values = {
        "name": "small",
        "family": "s3",
        "sample_rate_hz": 16000,
        "frame_rate_hz": RATES[request.param],
        "codebook_sizes": [6561 if "v2" in request.param else 4096],
        "parameters": {"model": request.param, "dimensions": SMALL, "version": 1, "channels": "mean"},
        "weights": {"source": "weights.onnx"},
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(values))
    return folder / "card.yaml"


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
