"""The wav2vec 2.0 of fairseq2 at small size, as checkpoints of fairseq and of fairseq2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile  # noqa: F401  (before fairseq2: it brings the libsndfile that fairseq2 needs)
import torch

pytest.importorskip("fairseq2", reason="fairseq2 belongs to the other stack")

from fairseq2.models.wav2vec2 import Wav2Vec2Config
from fairseq2.models.wav2vec2.factory import Wav2Vec2Factory

from cslm.encoders.fairseq2_features import _encoder_config

SMALL = {
    "model_dim": 32,
    "feature_dim": 24,
    "num_encoder_layers": 4,
    "num_encoder_attn_heads": 4,
    "ffn_inner_dim": 48,
    "layer_norm_features": False,
    "feature_extractor_bias": True,
    "feature_extractor_layer_norm_convs": True,
    "feature_extractor_layer_descs": [[24, 10, 5], *[[24, 3, 2]] * 4, *[[24, 2, 2]] * 2],
    "pos_conv_kernel_size": 16,
    "num_pos_conv_groups": 4,
    "norm_order": "PRE",
}
TO_FAIRSEQ = [
    (r"^encoder\.layers\.(\d+)\.self_attn\.output_proj\.", r"encoder.layers.\1.self_attn.out_proj."),
    (r"^encoder\.layers\.(\d+)\.ffn\.inner_proj\.", r"encoder.layers.\1.fc1."),
    (r"^encoder\.layers\.(\d+)\.ffn\.output_proj\.", r"encoder.layers.\1.fc2."),
    (r"^encoder\.layers\.(\d+)\.ffn_layer_norm\.", r"encoder.layers.\1.final_layer_norm."),
    (r"^encoder_frontend\.pos_encoder\.conv\.", "encoder.pos_conv.0."),
    (r"^encoder_frontend\.feature_extractor\.layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"^encoder_frontend\.feature_extractor\.layers\.(\d+)\.layer_norm\.", r"feature_extractor.conv_layers.\1.2.1."),
    (r"^encoder_frontend\.post_extract_layer_norm\.", "layer_norm."),
    (r"^encoder_frontend\.model_dim_proj\.", "post_extract_proj."),
    (r"^masker\.temporal_mask_embed$", "mask_emb"),
]


def model():
    """The model with random weights."""
    torch.manual_seed(0)
    made = Wav2Vec2Factory(Wav2Vec2Config(encoder_config=_encoder_config(SMALL, "here"))).create_model().eval()
    with torch.no_grad():
        for tensor in made.parameters():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
    return made


def save_checkpoint(kind: str, file: Path) -> Path:
    """A checkpoint with the names of ``fairseq`` or ``fairseq2``."""
    state = dict(model().state_dict())
    if kind == "fairseq":
        for pattern, name in TO_FAIRSEQ:
            state = {re.sub(pattern, name, key): value for key, value in state.items()}
    torch.save({"model": state}, file)
    return file
