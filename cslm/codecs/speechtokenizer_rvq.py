"""``speechtokenizer``: the residual quantizer whose first codebook is semantic, through the package of that name.

The encoder is convolutions and a bidirectional LSTM. In a padded batch both reach into the padding, so here the
convolutions run on each utterance alone and the LSTM on packed sequences, which end where the utterance does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from cslm.audio.waveform import RESAMPLER
from cslm.codecs.algorithm import algorithm, without_algorithm
from cslm.codecs.card import Card, Weights, checked
from cslm.codecs.fingerprint import fingerprint
from cslm.codecs.residual_codec import ResidualCodec
from cslm.codecs.units import Units, expand_repeats
from cslm.encoders.pretrained_model import torch_file
from cslm.encoders.runtime import Runtime
from cslm.errors import MissingExtraError, UserError

# Version of the algorithm here: raise it when the units of the same card change.
VERSION = 1

_CONFIG, _WEIGHTS = "config.json", "SpeechTokenizer.pt"


class SpeechTokenizerRvq(ResidualCodec):
    """The codec."""

    family = "speechtokenizer"

    def __init__(
        self, card: Card, network: Any, num_codebooks: int, runtime: Runtime, resampler: str = RESAMPLER
    ) -> None:
        """Put together a codec; see ``from_card``."""
        super().__init__(card, num_codebooks, runtime)
        self._network = network.to(runtime.device).eval().requires_grad_(False)
        layers = list(network.encoder.model)
        self._lstm = next(i for i, layer in enumerate(layers) if hasattr(layer, "lstm"))
        used = {
            key: value.float().cpu().numpy()
            for key, value in network.state_dict().items()
            if key.startswith(("encoder.", "quantizer.")) and not key.endswith(("inited", "cluster_size", "embed_avg"))
        }
        identity = {"num_codebooks": num_codebooks, **algorithm(VERSION, resampler)}
        self.fingerprint = fingerprint(used, {**identity, "strides": [int(s) for s in network.encoder.ratios]})

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return int(self._network.sample_rate)

    @property
    def frame_rate_hz(self) -> float:
        """Rows of units a second."""
        return self.sample_rate_hz / int(self._network.downsample_rate)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """As many codebooks as the card takes, from the first on."""
        return (int(self._network.quantizer.bins),) * self.num_codebooks

    @property
    def min_num_samples(self) -> int:
        """One frame."""
        return int(self._network.downsample_rate)

    def centroids(self) -> list[NDArray[np.float32]]:
        """The table (units, dims) of each codebook, the semantic one first."""
        layers = self._network.quantizer.vq.layers[: self.num_codebooks]
        return [layer._codebook.embed.float().cpu().numpy() for layer in layers]

    def _codes(self, latents: torch.Tensor) -> torch.Tensor:
        codes: torch.Tensor = self._network.quantizer.encode(latents, n_q=self.num_codebooks)
        return codes

    def _latents(self, waveforms: list[NDArray[np.float32]]) -> list[torch.Tensor]:
        """What is quantized (dims, num_frames), of each."""
        layers = self._network.encoder.model
        recurrent = layers[self._lstm]
        before = [layers[: self._lstm](self._samples(waveform))[0].T for waveform in waveforms]  # (time, channels)
        packed = pack_sequence(before, enforce_sorted=False)
        found, lengths = pad_packed_sequence(recurrent.lstm(packed)[0], batch_first=True)
        after = []
        for one, row, length in zip(before, found, lengths.tolist(), strict=True):
            skipped = one.repeat(1, 2) if recurrent.bidirectional else one
            hidden = row[:length] + skipped if recurrent.skip else row[:length]
            after.append(layers[self._lstm + 1 :](hidden.T[None])[0])
        return after

    @torch.inference_mode()
    def decode(self, units: Units) -> NDArray[np.float32]:
        """A waveform ``(num_samples,)`` by the package's own decoder; the first codebook alone sounds poor."""
        ids = torch.from_numpy(expand_repeats(units).ids.T[:, None].copy()).to(self.runtime.device)
        waveform: NDArray[np.float32] = self._network.decode(ids)[0, 0].cpu().numpy()
        return waveform

    @classmethod
    def from_card(cls, card: Card, runtime: Runtime) -> SpeechTokenizerRvq:
        """Open the codec of a card.

        Raises:
            UserError: weights that are not there or do not fit, or a card of another version.
            MissingExtraError: the package is not installed.
        """
        values, resampler = without_algorithm(card, VERSION)
        num_codebooks, folder = values.pop("num_codebooks", 1), str(values.pop("folder", ""))
        where = str(card.path)
        if values or card.weights is None:
            fault = f"unknown parameter {next(iter(values))}" if values else "no weights: {source: HUB_ID or folder}"
            raise UserError(f"{where}: {fault}")
        network = _network(card.weights, folder, where)
        if not isinstance(num_codebooks, int) or not 1 <= num_codebooks <= network.n_q:
            raise UserError(f"{where}: num_codebooks is {num_codebooks!r}, 1 to {network.n_q} are there")
        return checked(cls(card, network, num_codebooks, runtime, resampler), card)


def _network(weights: Weights, folder: str, where: str) -> Any:
    try:
        from speechtokenizer import SpeechTokenizer
    except ImportError:
        raise MissingExtraError("speechtokenizer", "speechtokenizer", "the family speechtokenizer") from None
    config, checkpoint = (_file(weights, f"{folder}/{name}".lstrip("/"), where) for name in (_CONFIG, _WEIGHTS))
    try:
        network = SpeechTokenizer(json.loads(config.read_text(encoding="utf-8")))
        network.load_state_dict(torch_file(str(checkpoint), where))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{checkpoint} and its {_CONFIG}, named by {where}: {' '.join(str(error).split())[:200]}"
        ) from None
    return network


def _file(weights: Weights, name: str, where: str) -> Path:
    """A file of the weights' folder, or of the hub."""
    if Path(weights.source).is_dir():
        if not (Path(weights.source) / name).is_file():
            raise UserError(f"{where}: there is no {Path(weights.source) / name}")
        return Path(weights.source) / name
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(hf_hub_download(weights.source, name, revision=weights.revision))
    except (OSError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: {weights.source} is no folder, and cannot be had from the hub: {reason}") from None
