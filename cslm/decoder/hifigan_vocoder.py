"""From log-mel to a waveform by a HiFi-GAN of transformers (Kong et al. 2020), trained by others and frozen here.

It is a stack of convolutions, so what a sample depends on is bounded, and nothing has to be carried from window to
window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig

from cslm.decoder.decoder_config import DecoderConfig
from cslm.encoders.pretrained_model import check_whole
from cslm.errors import UserError, first_line
from cslm.files.progress import without_progress_bar

CLASSES = ("SpeechT5HifiGan", "FastSpeech2ConformerHifiGan")
"""Of transformers. The nets are the same; each reads its own checkpoints."""
_MODEL_TYPES = {
    "hifigan": CLASSES[0],
    "speecht5_hifigan": CLASSES[0],
    "fastspeech2_conformer_hifigan": CLASSES[1],
}
_SHAPE = ("model_in_dim", "upsample_initial_channel", "upsample_rates", "upsample_kernel_sizes",
          "resblock_kernel_sizes", "resblock_dilation_sizes", "leaky_relu_slope", "normalize_before")  # fmt: skip
_BEGINS_AND_ENDS_WITH = 3
"""Frames, and samples, on each side that the first and the last convolution see."""


class HifiGanVocoder(nn.Module):
    """Natural log-mel magnitudes to waveforms."""

    is_trained = False
    lead = 0

    def __init__(self, config: DecoderConfig, shape: Mapping[str, Any] | None = None) -> None:
        """Make the net, with weights that :meth:`take` or a checkpoint has to fill.

        Args:
            shape: as :func:`shape_of`.

        Raises:
            UserError: no shape, or one that does not fit the spectrogram.
        """
        super().__init__()
        if shape is None:
            raise UserError(
                "decoder.vocoder is hifigan: name the model in decoder.vocoder_model, and train the decoder"
            )
        _check_fits(config, shape)
        self.shape, self.hop_length = dict(shape), config.hop_length
        self.scale = 1.0 if config.vocoder_log_base is None else 1.0 / math.log(config.vocoder_log_base)
        kind = getattr(transformers, self.shape["class"])
        self.model: Any = kind(kind.config_class(**{name: self.shape[name] for name in _SHAPE}))
        self.requires_grad_(False)

    @property
    def reach(self) -> int:
        """Frames on each side that a sample depends on."""
        reach = _BEGINS_AND_ENDS_WITH  # in samples of the last convolution, then of the one before it, and so on
        pairs = zip(self.shape["resblock_kernel_sizes"], self.shape["resblock_dilation_sizes"], strict=True)
        inside = max(sum((kernel - 1) // 2 * (dilation + 1) for dilation in steps) for kernel, steps in pairs)
        rates_and_kernels = zip(self.shape["upsample_rates"], self.shape["upsample_kernel_sizes"], strict=True)
        for rate, kernel in reversed(list(rates_and_kernels)):
            before = (kernel - rate) // 2
            reach += inside
            reach = max(rate - 1 + before + reach, kernel - 1 - before + reach) // rate
        return reach + _BEGINS_AND_ENDS_WITH

    def forward(
        self,
        log_mel: Tensor,
        lengths: list[int],
        seeds: list[int],
        first_frame: int = 0,
        carried: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """As :class:`~cslm.decoder.vocoders.Vocoder`; nothing is drawn, nothing is carried.

        Items are made one by one: what follows the shorter ones would be heard in them.
        """
        sounds = log_mel.new_zeros(log_mel.shape[0], log_mel.shape[1] * self.hop_length)
        for row, length in enumerate(lengths):
            sounds[row, : length * self.hop_length] = self.model(log_mel[row : row + 1, :length] * self.scale)[0]
        return sounds, None

    def take(self, model: Any) -> None:
        """Take the weights of a model of the same shape."""
        self.model.load_state_dict(model.state_dict())


def pretrained_hifigan(config: DecoderConfig, source: str | Path) -> Any:
    """The model that ``decoder.vocoder_model`` names, whole, in float32.

    Raises:
        UserError: it cannot be read, is no HiFi-GAN, or does not fit the spectrogram.
    """
    where, name = "decoder.vocoder_model", str(source)
    try:
        found, _ = PretrainedConfig.get_config_dict(name, revision=config.vocoder_revision)
        told = [one for one in found.get("architectures") or () if one in CLASSES]
        kind = told[0] if told else _MODEL_TYPES.get(str(found.get("model_type")))
        if kind is None:
            known = ", ".join(CLASSES)
            raise UserError(
                f"{where}: {name} is a model of type {found.get('model_type')}; hifigan reads those of {known}"
            )
        with without_progress_bar():
            model, report = getattr(transformers, kind).from_pretrained(
                name, revision=config.vocoder_revision, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: {name} cannot be read: {first_line(error)}") from None
    check_whole(model.state_dict().keys(), set(report["missing_keys"]), name, where)
    rate_hz = found.get("sampling_rate", config.sample_rate_hz)
    if rate_hz != config.sample_rate_hz:
        raise UserError(f"{where}: {name} makes {rate_hz} samples a second: set decoder.sample_rate_hz {rate_hz}")
    _check_fits(config, shape_of(model))
    return model.eval()


def shape_of(model: Any) -> dict[str, Any]:
    """What a net is made of, as plain values: its class, and its configuration."""
    return {"class": type(model).__name__, **{name: _plain(getattr(model.config, name)) for name in _SHAPE}}


def _check_fits(config: DecoderConfig, shape: Mapping[str, Any]) -> None:
    if shape.get("class") not in CLASSES:
        raise UserError(f"decoder.vocoder: {shape.get('class')} is none of {', '.join(CLASSES)}")
    hop = math.prod(shape["upsample_rates"])
    for key, wanted in (("hop_length", hop), ("num_bands", shape["model_in_dim"])):
        if getattr(config, key) != wanted:
            raise UserError(
                f"decoder.{key} is {getattr(config, key)}, and the HiFi-GAN has {wanted}: set {key} {wanted}"
            )
    pairs = zip(shape["upsample_rates"], shape["upsample_kernel_sizes"], strict=True)
    if any((kernel - rate) % 2 for rate, kernel in pairs) or any(k % 2 == 0 for k in shape["resblock_kernel_sizes"]):
        raise UserError("decoder.vocoder_model: kernels of this HiFi-GAN shift its frames in time; take another one")


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
