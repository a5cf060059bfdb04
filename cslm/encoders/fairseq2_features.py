"""Hidden states of a wav2vec 2.0 encoder of fairseq2, for the units of Seamless (XLSR2-1B-v2, block 35, 10,000 units).

Batches as in ``ssl_features``: all that looks along time with no mask runs on each utterance alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import soundfile  # noqa: F401  (before fairseq2: it brings the libsndfile that fairseq2 needs)
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.convolutions import frames_after, samples_for_a_frame
from cslm.encoders.pretrained_model import check_whole, torch_file
from cslm.encoders.runtime import META, Runtime
from cslm.errors import MissingExtraError, UserError

# Encoders by name: what differs from the wav2vec 2.0 base of fairseq2.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "xlsr2_1b_v2": {
        "model_dim": 1280,
        "num_encoder_layers": 48,
        "num_encoder_attn_heads": 16,
        "ffn_inner_dim": 5120,
        "layer_norm_features": False,
        "feature_extractor_bias": True,
        "feature_extractor_layer_norm_convs": True,
        "norm_order": "PRE",
    },
}

_SAMPLE_RATE_HZ = 16000


class Fairseq2Features:
    """Output of transformer block ``layer`` (1 is the first), before the norm that follows the last block.

    This counts as Seamless' command line does; its code counts from 0.
    """

    def __init__(
        self,
        source: str,
        architecture: str | Mapping[str, Any],
        layer: int,
        normalize_waveform: bool,
        runtime: Runtime,
        where: str,
    ) -> None:
        """Load the first ``layer`` blocks.

        Args:
            source: a checkpoint file of fairseq or fairseq2, or its URL.
            architecture: a name, or the fields of ``Wav2Vec2EncoderConfig`` that differ from the base.
            layer: the block whose output is taken.
            normalize_waveform: bring each waveform to mean 0 and variance 1, as Seamless does.
            runtime: device and size of batches.
            where: what asks for it, for errors.

        Raises:
            UserError: an unknown architecture, a layer that it does not have, or weights that are missing or misfit.
            MissingExtraError: fairseq2 is not installed.
        """
        self.config = _encoder_config(architecture, where)
        if not 1 <= layer <= self.config.num_encoder_layers:
            raise UserError(f"{where}: layer {layer}, the encoder has {self.config.num_encoder_layers}; 1 is the first")
        self.architecture, self.layer, self.runtime = architecture, layer, runtime
        self.normalize_waveform = normalize_waveform
        modules = _load(self.config, layer, source, where, runtime.device)
        self._modules = modules.to(runtime.device).eval().requires_grad_(False)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return _SAMPLE_RATE_HZ

    @property
    def dims(self) -> int:
        """Size of a feature."""
        return int(self.config.model_dim)

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        strides = [stride for _, _, stride in self.config.feature_extractor_layer_descs]
        return float(_SAMPLE_RATE_HZ / np.prod(strides))

    @property
    def min_num_samples(self) -> int:
        """The shortest waveform with a frame."""
        return samples_for_a_frame(self._convolutions)

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform."""
        return frames_after(num_samples, self._convolutions)

    @property
    def _convolutions(self) -> list[tuple[int, int]]:
        return [(kernel, stride) for _, kernel, stride in self.config.feature_extractor_layer_descs]

    def parameters(self) -> dict[str, Any]:
        """What a card says of the features."""
        return {
            "layer": self.layer,
            "normalize_waveform": self.normalize_waveform,
            "architecture": self.architecture if isinstance(self.architecture, str) else dict(self.architecture),
        }

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights that are used, by the names that fairseq2 gives them."""
        return {name: value.float().cpu().numpy() for name, value in self._modules.state_dict().items()}

    def num_weights(self) -> int:
        """Numbers in these tensors."""
        return sum(value.numel() for value in self._modules.state_dict().values())

    def facts(self) -> dict[str, Any]:
        """What decides the features besides the weights."""
        names = ("num_encoder_attn_heads", "num_pos_conv_groups", "feature_extractor_layer_descs", "pos_encoder_type")
        return {**{name: getattr(self.config, name) for name in names}, "norm_order": self.config.norm_order.name}

    @torch.inference_mode()
    def __call__(
        self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Index and features (num_frames, dims) of each waveform ``(num_samples,)``, batch by batch, by length."""
        batches = batches or AudioBatches(self.runtime.batch_sec)
        lengths = [self.num_frames(len(one)) for one in waveforms]
        yield from batches.run(self._batch, waveforms, lengths, self.frame_rate_hz)

    def _batch(self, waveforms: list[NDArray[np.float32]]) -> list[torch.Tensor]:
        from fairseq2.nn import BatchLayout

        local = [self._local(waveform) for waveform in waveforms]
        lengths = [len(one) for one in local]
        hidden = pad_sequence(local, batch_first=True)
        padded = min(lengths) < max(lengths)
        output = self._modules["encoder"](hidden, BatchLayout.of(hidden, lengths if padded else None))
        return [one[:length] for one, length in zip(output, lengths, strict=True)]

    def _local(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        """What goes into the transformer (num_frames, dims), of one utterance."""
        from fairseq2.nn import BatchLayout

        samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)).to(self.runtime.device)
        if self.normalize_waveform:
            samples = nn.functional.layer_norm(samples, samples.shape)
        seqs = samples[None]
        found: torch.Tensor = self._modules["encoder_frontend"](seqs, BatchLayout.of(seqs))[0][0]
        return found


def _encoder_config(architecture: str | Mapping[str, Any], where: str) -> Any:
    try:
        from fairseq2.models.transformer import TransformerNormOrder
        from fairseq2.models.wav2vec2 import Wav2Vec2EncoderConfig
    except ImportError:
        raise MissingExtraError("fairseq2", "fairseq2", "the family fairseq2_kmeans") from None
    if isinstance(architecture, str) and architecture not in ARCHITECTURES:
        raise UserError(f"{where}: unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    values = dict(ARCHITECTURES[architecture] if isinstance(architecture, str) else architecture)
    known = {field.name for field in dataclasses.fields(Wav2Vec2EncoderConfig)}
    if set(values) - known:
        raise UserError(f"{where}: the architecture names {min(set(values) - known)}, which wav2vec 2.0 does not have")
    if "norm_order" in values:
        values["norm_order"] = TransformerNormOrder[str(values["norm_order"])]
    if "feature_extractor_layer_descs" in values:
        values["feature_extractor_layer_descs"] = [tuple(row) for row in values["feature_extractor_layer_descs"]]
    return Wav2Vec2EncoderConfig(**values)


def _load(config: Any, layer: int, source: str, where: str, device: str) -> nn.ModuleDict:
    """Front end and the first blocks of the encoder, with the weights of a checkpoint; on ``meta`` without."""
    from fairseq2.models.wav2vec2.factory import Wav2Vec2EncoderFactory

    factory = Wav2Vec2EncoderFactory(config)
    with torch.device(META if device == META else "cpu"):
        modules = nn.ModuleDict(
            {"encoder_frontend": factory.create_encoder_frontend(), "encoder": factory.create_encoder()}
        )
    encoder: Any = modules["encoder"]
    encoder.layers = nn.ModuleList(encoder.layers[:layer])
    if encoder.layer_norm is not None:
        encoder.layer_norm = None  # comes after the last block, which may not be this one
    if device == META:
        return modules
    state = _state(config, source, where)
    wanted = modules.state_dict()
    check_whole(wanted, set(wanted) - set(state), source, where)
    try:
        modules.load_state_dict({name: state[name] for name in wanted})
    except RuntimeError as error:
        raise UserError(f"{where}: {source}: {' '.join(str(error).split())[:200]}") from None
    return modules


def _state(config: Any, source: str, where: str) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint of fairseq or fairseq2, by fairseq2's names."""
    from fairseq2.models.wav2vec2 import Wav2Vec2Config
    from fairseq2.models.wav2vec2.interop import convert_wav2vec2_state_dict

    found = torch_file(source, where)
    state = found.get("model", found)
    if "mask_emb" in state:  # fairseq's name; fairseq2 knows fairseq's checkpoints by another
        state = {**state, "mask_emb.weight": state["mask_emb"]}
    converted = convert_wav2vec2_state_dict(dict(state), Wav2Vec2Config(encoder_config=config))
    return {
        name.replace("encoder.pos_conv.0.", "encoder_frontend.pos_encoder.conv."): value
        for name, value in converted.items()
        if isinstance(value, torch.Tensor)
    }
