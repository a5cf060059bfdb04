"""The networks of the package s3tokenizer at small size, as ONNX files with the names of the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

pytest.importorskip("s3tokenizer", reason="s3tokenizer belongs to the fairseq2 stack")
onnx = pytest.importorskip("onnx")

SMALL = {"n_audio_state": 128, "n_audio_head": 2, "n_audio_layer": 2}
RATES = {"speech_tokenizer_v1": 50.0, "speech_tokenizer_v1_25hz": 25.0, "speech_tokenizer_v2_25hz": 25.0}
FIRST_CONV = {"speech_tokenizer_v1": 1519, "speech_tokenizer_v2_25hz": 2216}


def network(name: str):
    """A network with random weights."""
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


def write_card(name: str, folder: Path) -> Path:
    """``folder/card.yaml`` of a network, and its weights."""
    write_onnx(name, folder / "weights.onnx")
    values = {
        "name": "small",
        "family": "s3",
        "sample_rate_hz": 16000,
        "frame_rate_hz": RATES[name],
        "codebook_sizes": [6561 if "v2" in name else 4096],
        "parameters": {"model": name, "dimensions": SMALL, "version": 1, "channels": "mean"},
        "weights": {"source": "weights.onnx"},
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(values))
    return folder / "card.yaml"
