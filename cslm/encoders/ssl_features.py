"""Hidden states of a self-supervised speech model: HuBERT, wav2vec 2.0, WavLM, w2v-BERT 2.0, by transformers.

The features of an utterance do not depend on what shares its batch. What looks along time with no mask (convolutions
over the waveform, HuBERT-base's group norm, positional convolutions, batch norm before them) runs on each utterance
alone; attention, which has a mask, runs on the batch. What is left is the order of floating-point sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor

from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.convolutions import TimeFirstConvolutions, frames_after, samples_for_a_frame
from cslm.encoders.pretrained_model import check_whole, pretrained_config, pretrained_model
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError, first_line

# model_type of the checkpoint -> what it reads.
MODELS = {"hubert": "waveform", "wav2vec2": "waveform", "wavlm": "waveform", "wav2vec2-bert": "filter bank"}

# What decides the computation besides the weights, and so belongs to the fingerprint; a model has those it knows.
_CONFIG_FACTS = [
    "model_type",
    "feat_extract_norm",
    "feat_extract_activation",
    "conv_stride",
    "conv_kernel",
    "hidden_act",
    "do_stable_layer_norm",
    "layer_norm_eps",
    "feat_proj_layer_norm",
    "num_attention_heads",
    "num_conv_pos_embedding_groups",
    "conv_pos_batch_norm",
    "num_buckets",
    "max_bucket_distance",
    "position_embeddings_type",
    "left_max_position_embeddings",
    "right_max_position_embeddings",
    "max_source_positions",
    "rotary_embedding_base",
    "conv_depthwise_kernel_size",
]
_FILTER_BANK_FACTS = ("num_mel_bins", "stride", "sampling_rate", "feature_size", "padding_value")

_WINDOW, _HOP = 400, 160  # samples of a filter-bank frame
_EPSILON = 1e-7  # of the variance that a waveform is divided by


class SslFeatures:
    """Output of transformer block ``layer`` (1 is the first), before any norm that follows the last block.

    This counts as the authors do: "layer 9" of HuBERT is ``hidden_states[9]`` of transformers.
    """

    def __init__(
        self,
        source: str,
        revision: str | None,
        layer: int,
        normalize_waveform: bool | None,
        runtime: Runtime,
        where: str,
    ) -> None:
        """Load the first ``layer`` blocks; ``normalize_waveform`` None takes what the checkpoint's processor says.

        Args:
            source: a hub id, or a folder as ``save_pretrained`` writes it.
            revision: branch, tag or commit on the hub.
            layer: the block whose output is taken, 1 to the number of blocks.
            normalize_waveform: bring each waveform to mean 0 and variance 1; of no effect on a filter bank.
            runtime: device and size of batches.
            where: what asks for it, for errors.

        Raises:
            UserError: no such model, one of another kind, a layer that it does not have, or missing weights.
        """
        config = pretrained_config(source, revision, MODELS, where)
        if not 1 <= layer <= config.num_hidden_layers:
            raise UserError(
                f"{where}: layer {layer} of {source}, which has {config.num_hidden_layers} (1 is the first)"
            )
        self.reads_waveform = MODELS[config.model_type] == "waveform"
        self._extractor = _extractor(source, revision, where, required=not self.reads_waveform)
        self.normalize_waveform = self._resolve_normalization(normalize_waveform, source, where)
        self.model = _model(source, revision, layer, where, runtime.device).to(runtime.device)
        if self.reads_waveform:
            self._convolve = TimeFirstConvolutions(self.model.feature_extractor.conv_layers)
        self.config, self.layer, self.runtime = config, layer, runtime
        self._alone: list[_EachAlone] = []
        encoder = self.model.encoder
        if hasattr(encoder, "pos_conv_embed"):
            self._alone.append(_EachAlone(encoder.pos_conv_embed))
            encoder.pos_conv_embed = self._alone[0]

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms; all of these models hear 16 kHz unless their processor says otherwise."""
        return int(getattr(self._extractor, "sampling_rate", 16000))

    @property
    def dims(self) -> int:
        """Size of a feature."""
        return int(self.config.hidden_size)

    @property
    def samples_per_frame(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.config.conv_stride) if self.reads_waveform else _HOP * int(self._extractor.stride)

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.sample_rate_hz / self.samples_per_frame

    @property
    def min_num_samples(self) -> int:
        """The shortest waveform with a frame."""
        if not self.reads_waveform:
            return _WINDOW + _HOP * (int(self._extractor.stride) - 1)
        return samples_for_a_frame(self._convolutions)

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform."""
        if not self.reads_waveform:
            return max(0, 1 + (num_samples - _WINDOW) // _HOP) // int(self._extractor.stride)
        return frames_after(num_samples, self._convolutions)

    @property
    def _convolutions(self) -> list[tuple[int, int]]:
        return list(zip(self.config.conv_kernel, self.config.conv_stride, strict=True))

    def parameters(self) -> dict[str, Any]:
        """What a card says of the features."""
        return {"layer": self.layer, "normalize_waveform": self.normalize_waveform}

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights that are used, by the names that transformers gives them."""
        named = {name.replace(".module.", "."): value for name, value in self.model.state_dict().items()}
        return {name: value.float().cpu().numpy() for name, value in named.items() if name != "masked_spec_embed"}

    def num_weights(self) -> int:
        """Numbers in these tensors."""
        return sum(value.numel() for value in self.model.state_dict().values())

    def facts(self) -> dict[str, Any]:
        """What decides the features besides the weights."""
        values = {key: getattr(self.config, key, None) for key in _CONFIG_FACTS}
        if not self.reads_waveform:
            values |= {key: getattr(self._extractor, key, None) for key in _FILTER_BANK_FACTS}
        return {key: value for key, value in values.items() if value is not None}

    @torch.inference_mode()
    def __call__(
        self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Index and features (num_frames, dims) of each waveform ``(num_samples,)``, batch by batch, by length."""
        batches = batches or AudioBatches(self.runtime.batch_sec)
        lengths = [self.num_frames(len(one)) for one in waveforms]
        yield from batches.run(self._batch, waveforms, lengths, self.frame_rate_hz)

    def _batch(self, waveforms: list[NDArray[np.float32]]) -> list[torch.Tensor]:
        local = [self._local(waveform) for waveform in waveforms]
        lengths = [len(one) for one in local]
        hidden = self.model.feature_projection(pad_sequence(local, batch_first=True))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        for alone in self._alone:
            alone.lengths = lengths
        mask = None
        if min(lengths) < max(lengths):
            mask = (
                torch.arange(max(lengths), device=hidden.device) < torch.tensor(lengths, device=hidden.device)[:, None]
            )
        output = self.model.encoder(hidden, attention_mask=mask).last_hidden_state
        return [one[:length] for one, length in zip(output, lengths, strict=True)]

    def _local(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        """What stands before the first projection (num_frames, channels), of one utterance."""
        if not self.reads_waveform:
            found = self._extractor(waveform, sampling_rate=self.sample_rate_hz, return_tensors="pt")
            frames: torch.Tensor = found["input_features"][0, : self.num_frames(len(waveform))]
            return frames.to(self.runtime.device)
        if self.normalize_waveform:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + _EPSILON)
        samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)).to(self.runtime.device)
        convolved: torch.Tensor = self._convolve(samples)
        return convolved

    def _resolve_normalization(self, asked: bool | None, source: str, where: str) -> bool:
        if not self.reads_waveform:
            return False
        if asked is not None:
            return asked
        if self._extractor is None:
            raise UserError(f"{where}: {source} does not say whether to normalize waveforms: give normalize_waveform")
        return bool(self._extractor.do_normalize)


class _EachAlone(nn.Module):
    """Runs a module on each row of a batch without its padding; rows of equal length go together."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.lengths: list[int] = []

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, time, dims) in and out; zeros after the end of a row."""
        if min(self.lengths) == max(self.lengths):
            whole: torch.Tensor = self.module(hidden)
            return whole
        rows = [self.module(row[None, :length])[0] for row, length in zip(hidden, self.lengths, strict=True)]
        return pad_sequence(rows, batch_first=True)


def _extractor(source: str, revision: str | None, where: str, required: bool) -> Any:
    try:
        return AutoFeatureExtractor.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        if not required:
            return None
        raise UserError(f"{where}: {source} has no usable preprocessor_config.json: {first_line(error)}") from None


def _model(source: str, revision: str | None, layer: int, where: str, device: str) -> Any:
    model, missing = pretrained_model(source, revision, where, device)
    model.encoder.layers = model.encoder.layers[:layer]
    if getattr(model.config, "do_stable_layer_norm", False):
        model.encoder.layer_norm = nn.Identity()  # comes after the last block, which may not be this one
    for unused in ("adapter", "intermediate_ffn"):
        if hasattr(model, unused):
            setattr(model, unused, None)
    check_whole(set(model.state_dict()) - {"masked_spec_embed"}, missing, source, where)
    return model
