"""The encoder of Whisper by transformers, over as many frames as a clip has.

transformers' own forward takes 30 seconds, no more and no less, and looks at all of them. Here the layers run over the
true length, under a mask: three seconds cost a tenth of thirty, and neighbours in a batch change nothing but rounding.
With ``whole_window`` each clip is filled up with silence to the window instead, as Whisper was trained, and the frames
of its true length are taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import dropout, gelu
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor

from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.pretrained_model import check_whole, pretrained_config, pretrained_model
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError, first_line

_STRIDE = 2  # of the second convolution
_FACTS = ("model_type", "encoder_attention_heads", "activation_function", "scale_embedding", "max_source_positions")
_FILTER_BANK_FACTS = ("feature_size", "sampling_rate", "hop_length", "n_fft", "chunk_length")


class WhisperFeatures:
    """The last hidden states of a Whisper encoder: 50 frames a second."""

    def __init__(self, source: str, revision: str | None, whole_window: bool, runtime: Runtime, where: str) -> None:
        """Load the encoder; the decoder is let go.

        Args:
            source: a hub id, or a folder as ``save_pretrained`` writes it.
            revision: branch, tag or commit on the hub.
            whole_window: fill each clip up with silence to 30 seconds.
            runtime: device and size of batches.
            where: what asks for it, for errors.

        Raises:
            UserError: no such model, one of another kind, missing weights, or no feature extractor.
        """
        self.config = pretrained_config(source, revision, ("whisper",), where)
        model, missing = pretrained_model(source, revision, where, runtime.device)
        check_whole({name for name in model.state_dict() if name.startswith("encoder.")}, missing, source, where)
        self._encoder = model.encoder.to(runtime.device)
        try:
            self._extractor = AutoFeatureExtractor.from_pretrained(source, revision=revision)
        except (OSError, ValueError) as error:
            raise UserError(f"{where}: {source} has no usable preprocessor_config.json: {first_line(error)}") from None
        self.whole_window, self.runtime = whole_window, runtime

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return int(self._extractor.sampling_rate)

    @property
    def samples_per_frame(self) -> int:
        """Samples from one frame to the next."""
        return int(self._extractor.hop_length) * _STRIDE

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.sample_rate_hz / self.samples_per_frame

    @property
    def dims(self) -> int:
        """Size of a frame."""
        return int(self.config.d_model)

    @property
    def min_num_samples(self) -> int:
        """The shortest waveform with a frame."""
        return 1

    @property
    def max_num_samples(self) -> int:
        """The longest waveform: there are no more positions."""
        return int(self.config.max_source_positions) * self.samples_per_frame

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform; the last may look at silence behind it."""
        return -(-num_samples // self.samples_per_frame)

    def parameters(self) -> dict[str, Any]:
        """What its class is opened with again, besides the weights."""
        return {"whole_window": self.whole_window}

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights that are used."""
        return {name: value.float().cpu().numpy() for name, value in self._encoder.state_dict().items()}

    def num_weights(self) -> int:
        """Numbers in these tensors."""
        return sum(value.numel() for value in self._encoder.state_dict().values())

    def facts(self) -> dict[str, Any]:
        """What decides the frames besides the weights."""
        values = {key: getattr(self.config, key) for key in _FACTS}
        return values | {key: getattr(self._extractor, key) for key in _FILTER_BANK_FACTS}

    @torch.inference_mode()
    def __call__(
        self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Index and frames (num_frames, dims) of each waveform ``(num_samples,)``, batch by batch, by length.

        No waveform is longer than ``max_num_samples``.
        """
        batches = batches or AudioBatches(self.runtime.batch_sec)
        lengths = [self.num_frames(len(one)) for one in waveforms]
        yield from batches.run(self._batch, waveforms, lengths, self.frame_rate_hz)

    def _batch(self, waveforms: list[NDArray[np.float32]]) -> list[Tensor]:
        wanted = [self.num_frames(len(one)) for one in waveforms]
        mels = pad_sequence([self._log_mel(one) for one in waveforms], batch_first=True).transpose(1, 2)
        counts = [-(-len(one) // int(self._extractor.hop_length)) for one in waveforms]
        if self.whole_window:
            counts = [mels.shape[2]] * len(waveforms)
        with _exact_attention(mels):
            hidden = encode(self._encoder, mels, torch.tensor(counts, device=mels.device))
        return [one[:length] for one, length in zip(hidden, wanted, strict=True)]

    def _log_mel(self, waveform: NDArray[np.float32]) -> Tensor:
        """(frames, bands), those that the extractor gives for the clip with silence behind it."""
        assert len(waveform) <= self.max_num_samples, "longer than the window"
        hop, silence = int(self._extractor.hop_length), int(self._extractor.n_fft)
        most = self.max_num_samples if self.whole_window else min(self.max_num_samples, len(waveform) + silence)
        padded = np.pad(waveform, (0, most - len(waveform)))
        found = self._extractor(
            padded, sampling_rate=self.sample_rate_hz, padding="do_not_pad", truncation=False, return_tensors="np"
        )["input_features"][0]
        count = found.shape[1] if self.whole_window else -(-len(waveform) // hop)
        return torch.from_numpy(np.ascontiguousarray(found[:, :count].T)).to(self.runtime.device)


def encode(encoder: Any, mels: Tensor, counts: Tensor) -> Tensor:
    """What the encoder of a Whisper makes of log-mel spectrograms that do not fill its window.

    Args:
        encoder: of transformers, whose own ``forward`` takes whole windows alone.
        mels: (batch, bands, frames).
        counts: (batch,), how many frames of each are real; nothing attends to the others.

    Returns:
        (batch, frames / 2, dims).
    """
    real = torch.arange(mels.shape[2], device=mels.device) < counts[:, None]
    first = torch.where(real[:, None], gelu(encoder.conv1(torch.where(real[:, None], mels, 0))), 0)
    hidden = gelu(encoder.conv2(first)).transpose(1, 2)
    hidden = dropout(hidden + encoder.embed_positions.weight[: hidden.shape[1]], encoder.dropout, encoder.training)
    mask = None
    lengths = (counts + _STRIDE - 1) // _STRIDE
    if bool((lengths < hidden.shape[1]).any()):
        hidden_from = torch.arange(hidden.shape[1], device=mels.device) >= lengths[:, None]
        mask = torch.zeros_like(hidden[..., 0]).masked_fill(hidden_from, torch.finfo(hidden.dtype).min)
        mask = mask[:, None, None]
    for layer in encoder.layers:
        hidden = _through(layer, hidden, mask)
    normed: Tensor = encoder.layer_norm(hidden)
    return normed


def _exact_attention(hidden: Tensor) -> contextlib.AbstractContextManager[None]:
    """On the CPU, attention whose rounding does not hang on the batch.

    The fused kernel rounds otherwise in other batches: by it the frames of a pretrained Whisper moved by 9e-6 of the
    largest with their neighbours, and the vectors behind them by three times that; without it by 1e-6. Windows of 30
    seconds take 1.8 times as long, those of 3 seconds no longer.
    """
    return sdpa_kernel(SDPBackend.MATH) if hidden.device.type == "cpu" else contextlib.nullcontext()


def _through(layer: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """A layer of the encoder; what its own ``forward`` takes differs between versions of transformers."""
    attended = layer.self_attn(hidden_states=layer.self_attn_layer_norm(hidden), attention_mask=mask)[0]
    hidden = hidden + attended
    inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
    result: Tensor = hidden + layer.fc2(inner)
    return result
