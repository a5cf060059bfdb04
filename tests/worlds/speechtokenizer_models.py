"""The network of the package speechtokenizer at small size, in the files that users have, and cards of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.worlds.small_corpus import glide

pytest.importorskip("speechtokenizer", reason="speechtokenizer belongs to the fairseq2 stack")

CONFIG = {
    "n_filters": 4,
    "dimension": 16,
    "strides": [8, 5, 4, 2],
    "lstm_layers": 2,
    "bidirectional": True,
    "dilation_base": 2,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "activation": "ELU",
    "sample_rate": 16000,
    "n_q": 3,
    "semantic_dimension": 24,
    "codebook_size": 32,
}


def network():
    """The network with random weights, large enough that frames differ."""
    from speechtokenizer import SpeechTokenizer

    torch.manual_seed(0)
    made = SpeechTokenizer(CONFIG).eval()
    with torch.no_grad():
        for name, tensor in made.encoder.named_parameters():
            tensor.mul_(2.5 if "weight" in name else 1)  # at birth, all frames are nearly alike
        latents = made.encoder(torch.from_numpy(glide(9, 2.0))[None, None])[0].T  # codebooks lie where latents do
        for index, codebook in enumerate(layer._codebook for layer in made.quantizer.vq.layers):
            codebook.inited.fill_(1)
            codebook.embed.copy_((latents[index :: len(latents) // 33][:32] - index * latents.mean(0)) / (index + 1))
    return made


def save_network(folder: Path) -> Path:
    """Configuration and weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    torch.save(network().state_dict(), folder / "SpeechTokenizer.pt")
    return folder


def write_card(folder: Path, target: Path, num_codebooks: int = 3, **changes: object) -> Path:
    """``target/card.yaml`` of the network in ``folder``."""
    values = {
        "name": "small",
        "family": "speechtokenizer",
        "sample_rate_hz": 16000,
        "frame_rate_hz": 50.0,
        "codebook_sizes": [32] * num_codebooks,
        "parameters": {"folder": "hubert_avg", "num_codebooks": num_codebooks, "version": 1, "channels": "mean"},
        "weights": {"source": str(folder.parent)},
        **changes,
    }
    (target / "card.yaml").write_text(yaml.safe_dump(values))
    return target / "card.yaml"
