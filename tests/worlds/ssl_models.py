"""Small self-supervised speech models with random weights, on disk as ``save_pretrained`` leaves them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "conv_dim": (24,) * 7,
    "mask_time_prob": 0.0,
}
_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_CONFORMER = {
    key: _SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
}

# What users have: name -> class, configuration, whether the processor normalizes waveforms.
KINDS: dict[str, tuple[Any, Any, bool]] = {
    "hubert_base": (HubertModel, HubertConfig(**_SMALL), True),
    "hubert_large": (HubertModel, HubertConfig(**_SMALL, **_LARGE), True),
    "mhubert_25hz": (
        HubertModel,
        HubertConfig(
            **{**_SMALL, "conv_dim": (24,) * 8},
            conv_stride=(5, 2, 2, 2, 2, 2, 2, 2),
            conv_kernel=(10, 3, 3, 3, 3, 2, 2, 2),
            conv_pos_batch_norm=True,
        ),
        False,
    ),
    "wav2vec2_base": (Wav2Vec2Model, Wav2Vec2Config(**_SMALL), True),
    "xlsr": (Wav2Vec2Model, Wav2Vec2Config(**_SMALL, **_LARGE), True),
    "wavlm_base": (WavLMModel, WavLMConfig(**_SMALL, num_buckets=32, max_bucket_distance=80), False),
    "wavlm_large": (WavLMModel, WavLMConfig(**_SMALL, **_LARGE, num_buckets=32, max_bucket_distance=80), True),
    "w2v_bert": (Wav2Vec2BertModel, Wav2Vec2BertConfig(**_CONFORMER, feature_projection_input_dim=160), False),
}


def save_model(kind: str, folder: Path) -> Path:
    """A model of a kind: weights and running statistics are drawn by name, the same on every stack."""
    model_class, config, normalize = KINDS[kind]
    model = model_class(config)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.from_numpy(np.random.default_rng(zlib.crc32(name.encode())).normal(size=tuple(tensor.shape)))
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
            centre = 1.0 if tensor.ndim == 1 and name.endswith(("weight", "running_var")) else 0.0
            tensor.copy_(centre + drawn * (0.1 if tensor.ndim == 1 else 1 / fan_in**0.5))
    model.save_pretrained(folder)
    if kind == "w2v_bert":
        SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80).save_pretrained(folder)
    else:
        Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return folder


def hidden_states(folder: Path, waveform: Any, layer: int) -> torch.Tensor:
    """``hidden_states[layer]`` of one waveform (num_frames, dims), as a user of transformers would take it."""
    return outputs(folder, waveform).hidden_states[layer][0]


def outputs(folder: Path, waveform: Any) -> Any:
    """All that transformers gives for one waveform."""
    model = AutoModel.from_pretrained(folder).eval()
    inputs = AutoFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs, output_hidden_states=True)
