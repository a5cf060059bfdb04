"""Convolutions over a waveform with time first: (frames, channels).

Wav2vec 2.0 and its kin spend two fifths of their time in seven of them. With time first, the taps of a frame lie side
by side in memory, so a convolution is one matrix product for each stride's length of its kernel, without a copy, and a
group norm over time of the first layer folds into its weights: its mean and variance follow from the covariance of the
waveform's windows. The largest results, 13 MB a second of audio, are written where the last ones stood: on a CPU, fresh
memory costs more than what is computed in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers.activations import GELUActivation


class TimeFirstConvolutions:
    """What a ``feature_extractor`` of transformers computes, for one waveform at a time.

    Args:
        layers: its ``conv_layers``: a ``Conv1d``, a norm (group over time in the first layer, layer, or none) and an
            activation each.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        self._layers = [_Layer(layer) for layer in layers]
        self._buffers = [torch.empty(0), torch.empty(0)]  # a layer reads one and writes the other

    def __call__(self, samples: Tensor) -> Tensor:
        """(num_samples,) to (num_frames, channels)."""
        hidden = samples[:, None]
        for index, layer in enumerate(self._layers):
            size = layer.num_frames(len(hidden)) * layer.width
            if self._buffers[index % 2].numel() < size or self._buffers[index % 2].device != samples.device:
                self._buffers[index % 2] = samples.new_empty(size)
            hidden = layer(hidden, self._buffers[index % 2][:size].view(-1, layer.width))
        return hidden.clone()


def frames_after(num_samples: int, convolutions: Sequence[tuple[int, int]]) -> int:
    """Frames that convolutions (kernel, stride) without padding leave of so many samples."""
    for kernel, stride in convolutions:
        num_samples = max(0, 1 + (num_samples - kernel) // stride)
    return num_samples


def samples_for_a_frame(convolutions: Sequence[tuple[int, int]]) -> int:
    """The fewest samples of which they leave one."""
    needed = 1
    for kernel, stride in reversed(convolutions):
        needed = (needed - 1) * stride + kernel
    return needed


class _Layer:
    def __init__(self, layer: Any) -> None:
        conv, self._norm = layer.conv, getattr(layer, "layer_norm", None)
        assert conv.padding == (0,) and conv.dilation == (1,) and conv.groups == 1, conv
        assert not isinstance(self._norm, nn.GroupNorm) or self._norm.num_groups == conv.out_channels, self._norm
        self._activation, self.width = layer.activation, conv.out_channels
        self._kernel, self._stride, self._bias = conv.kernel_size[0], conv.stride[0], conv.bias
        # (taps x channels in, channels out) of each stride's length of the kernel
        self._weights = [
            part.permute(2, 1, 0).reshape(-1, conv.out_channels).contiguous()
            for part in conv.weight.detach().split(self._stride, dim=2)
        ]

    def num_frames(self, length: int) -> int:
        """Frames of an input of so many."""
        return 1 + (length - self._kernel) // self._stride

    def __call__(self, hidden: Tensor, result: Tensor) -> Tensor:
        """(length, channels in) to (num_frames, width), in the memory of ``result`` where that can be."""
        step = self._stride * hidden.shape[1]
        windows = [
            hidden.as_strided((len(result), len(weight)), (step, 1), hidden.storage_offset() + index * step)
            for index, weight in enumerate(self._weights)
        ]
        weights, bias = self._weights, self._bias
        if isinstance(self._norm, nn.GroupNorm):
            weights, bias = _normed_over_time(windows, weights, self._norm)
        if bias is None:
            torch.mm(windows[0], weights[0], out=result)
        else:
            torch.addmm(bias, windows[0], weights[0], out=result)
        for window, weight in zip(windows[1:], weights[1:], strict=True):
            result.addmm_(window, weight)
        if isinstance(self._norm, nn.LayerNorm):
            result = layer_norm(result, self._norm.normalized_shape, self._norm.weight, self._norm.bias, self._norm.eps)
        exact = isinstance(self._activation, GELUActivation)
        activated: Tensor = torch.ops.aten.gelu_(result) if exact else self._activation(result)
        return activated


def _normed_over_time(windows: list[Tensor], weights: list[Tensor], norm: nn.GroupNorm) -> tuple[list[Tensor], Tensor]:
    """Weights and bias with which the convolution's output has the norm's mean and variance over time by channel."""
    taps = torch.cat(windows, dim=1).double()
    mean = taps.mean(dim=0)
    taps -= mean
    covariance = taps.T @ taps / len(taps)
    weight = torch.cat(weights).double()
    variance = (weight * (covariance @ weight)).sum(dim=0)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    bias = norm.bias - (mean @ weight) * scale
    scaled = (weight * scale).float()
    return list(scaled.split([len(part) for part in weights])), bias.float()
