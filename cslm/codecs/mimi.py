"""``mimi``: the codec of Moshi (24 kHz, 12.5 frames a second), through transformers.

Its first codebook is semantic. Convolutions run on each utterance alone; the transformer between them looks back only,
so what follows an utterance in its batch cannot reach it. Its window of 10 s is a mask that is made here, since
transformers 4 leaves it out, and longer utterances would have other units there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from cslm.audio.waveform import RESAMPLER
from cslm.codecs.algorithm import algorithm, without_algorithm
from cslm.codecs.card import Card, checked
from cslm.codecs.fingerprint import fingerprint
from cslm.codecs.residual_codec import ResidualCodec
from cslm.codecs.units import Units, expand_repeats
from cslm.encoders.pretrained_model import check_whole, pretrained_config, pretrained_model
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError

# Version of the algorithm here: raise it when the units of the same card change.
VERSION = 1

_CONFIG_FACTS = (
    "upsampling_ratios",
    "kernel_size",
    "last_kernel_size",
    "residual_kernel_size",
    "dilation_growth_rate",
    "compress",
    "use_causal_conv",
    "pad_mode",
    "num_attention_heads",
    "sliding_window",
    "norm_eps",
    "num_semantic_quantizers",
)


class Mimi(ResidualCodec):
    """The codec."""

    family = "mimi"

    def __init__(
        self, card: Card, model: Any, num_codebooks: int, runtime: Runtime, resampler: str = RESAMPLER
    ) -> None:
        """Put together a codec; see ``from_card``."""
        super().__init__(card, num_codebooks, runtime)
        self._model = model.to(runtime.device)
        self._config = model.config
        inner = model.encoder if hasattr(model.encoder, "encoder_seanet") else model  # transformers 5, 4
        self._parts = {
            "convolutions": model.encoder.encoder_seanet if inner is not model else model.encoder,
            "transformer": inner.encoder_transformer,
            "downsample": inner.downsample,
            "quantizer": model.quantizer,
        }
        facts = {key: getattr(self._config, key, None) for key in _CONFIG_FACTS}
        identity = {"num_codebooks": num_codebooks, **algorithm(VERSION, resampler)}
        self.fingerprint = fingerprint(self._tensors(), {**identity, **facts})

    def _tensors(self) -> dict[str, NDArray[np.float32]]:
        """Weights that decide the units, by names that do not depend on the version of transformers."""
        return {
            f"{part}.{key}": value.float().cpu().numpy()
            for part, module in self._parts.items()
            for key, value in module.state_dict().items()
            if not key.endswith(("initialized", "inv_freq"))
        }

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return int(self._config.sampling_rate)

    @property
    def frame_rate_hz(self) -> float:
        """Rows of units a second."""
        return float(self._config.frame_rate)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """As many codebooks as the card takes, from the first on."""
        return (int(self._config.codebook_size),) * self.num_codebooks

    @property
    def min_num_samples(self) -> int:
        """One frame."""
        return int(self.sample_rate_hz / self.frame_rate_hz)

    def centroids(self) -> list[NDArray[np.float32]]:
        """The table (units, dims) of each codebook, the semantic one first."""
        quantizer = self._parts["quantizer"]
        parts = (quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer)
        layers = [layer for part in parts for layer in part.layers]
        return [layer.codebook.embed.float().cpu().numpy() for layer in layers[: self.num_codebooks]]

    def _codes(self, latents: torch.Tensor) -> torch.Tensor:
        codes: torch.Tensor = self._parts["quantizer"].encode(latents, self.num_codebooks)
        return codes

    def _latents(self, waveforms: list[NDArray[np.float32]]) -> list[torch.Tensor]:
        """What is quantized (dims, num_frames), of each."""
        convolutions, downsample = self._parts["convolutions"], self._parts["downsample"]
        before = [convolutions(self._samples(waveform))[0].T for waveform in waveforms]  # (time, dims)
        lengths = [len(one) for one in before]
        hidden = self._parts["transformer"](
            pad_sequence(before, batch_first=True), attention_mask=self._window(max(lengths)), use_cache=False
        ).last_hidden_state
        latents = [row[:length].T for row, length in zip(hidden, lengths, strict=True)]
        return [one if downsample is None else downsample(one[None])[0] for one in latents]

    def _window(self, length: int) -> torch.Tensor:
        """What each frame sees (1, 1, length, length): itself and the frames before it, as far as the window goes."""
        frames = torch.arange(length, device=self.runtime.device)
        back = frames[:, None] - frames
        seen = (back >= 0) & (back < int(self._config.sliding_window))
        mask = torch.zeros(1, 1, length, length, device=self.runtime.device)
        return mask.masked_fill_(~seen, float("-inf"))

    @torch.inference_mode()
    def decode(self, units: Units) -> NDArray[np.float32]:
        """A waveform ``(num_samples,)`` by Mimi's own decoder; few codebooks sound poor."""
        ids = torch.from_numpy(expand_repeats(units).ids.T[None].copy()).to(self.runtime.device)
        waveform: NDArray[np.float32] = self._model.decode(ids).audio_values[0, 0].cpu().numpy()
        return waveform

    @classmethod
    def from_card(cls, card: Card, runtime: Runtime) -> Mimi:
        """Open the codec of a card.

        Raises:
            UserError: weights that are not there or do not fit, or a card of another version.
        """
        values, resampler = without_algorithm(card, VERSION)
        num_codebooks, where = values.pop("num_codebooks", 1), str(card.path)
        if values or card.weights is None:
            fault = f"unknown parameter {next(iter(values))}" if values else "no weights: {source: HUB_ID or folder}"
            raise UserError(f"{where}: {fault}")
        source, revision = card.weights.source, card.weights.revision
        config = pretrained_config(source, revision, ("mimi",), where)
        if not isinstance(num_codebooks, int) or not 1 <= num_codebooks <= config.num_quantizers:
            raise UserError(f"{where}: num_codebooks is {num_codebooks!r}, 1 to {config.num_quantizers} are there")
        model, missing = pretrained_model(source, revision, where)
        check_whole(model.state_dict(), missing, source, where)
        return checked(cls(card, model, num_codebooks, runtime, resampler), card)
