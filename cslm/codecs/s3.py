"""``s3``: the supervised semantic tokenizers of CosyVoice, through the package ``s3tokenizer`` (extra ``s3tokenizer``).

CSLM's own units are those of ``speech_tokenizer_v1_25hz`` (4,096 units, 25 a second; CSLM section 3.1). Utterances up
to 30 s are batched; a longer one goes alone, through the package's windows of 30 s with 4 s of overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.waveform import RESAMPLER
from cslm.codecs.algorithm import algorithm, without_algorithm
from cslm.codecs.card import Card, checked
from cslm.codecs.codec import check_long_enough, no_vocoder
from cslm.codecs.fingerprint import fingerprint
from cslm.codecs.ready_made import ReadyMadeCodec
from cslm.codecs.units import Units
from cslm.encoders.audio_batches import AudioBatches, in_order
from cslm.encoders.runtime import Runtime
from cslm.errors import MissingExtraError, UserError

# Version of the algorithm here: raise it when the units of the same card change.
VERSION = 1

_SAMPLE_RATE_HZ = 16000
_HOP = 160  # samples of a frame of the spectrum
_WINDOW = 400
_LONGEST = 3000  # frames of the spectrum that the networks hear at once


@dataclass(frozen=True)
class _Model:
    frame_rate_hz: float
    codebook_size: int
    strides: tuple[int, int]


MODELS = {
    "speech_tokenizer_v1": _Model(50.0, 4096, (1, 2)),
    "speech_tokenizer_v1_25hz": _Model(25.0, 4096, (2, 2)),
    "speech_tokenizer_v2_25hz": _Model(25.0, 6561, (2, 2)),
}


class S3(ReadyMadeCodec):
    """The codec. Its weights are the published ONNX file."""

    family = "s3"

    def __init__(self, card: Card, model_name: str, network: Any, runtime: Runtime, resampler: str = RESAMPLER) -> None:
        """Put together a codec; see ``from_card``."""
        super().__init__(card, runtime)
        self.model_name = model_name
        self._model = MODELS[model_name]
        self._network = network.to(runtime.device).eval()
        tensors = {key: value.float().cpu().numpy() for key, value in network.state_dict().items()}
        heads = int(network.config.n_audio_head)
        self._identity = {"model": model_name, **algorithm(VERSION, resampler)}
        self.fingerprint = fingerprint(tensors, {**self._identity, "num_heads": heads})
        self._codebook_size = int(network.config.n_codebook_size)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms."""
        return _SAMPLE_RATE_HZ

    @property
    def frame_rate_hz(self) -> float:
        """Rows of units a second, before merging."""
        return self._model.frame_rate_hz

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """One codebook."""
        return (self._codebook_size,)

    @property
    def min_num_samples(self) -> int:
        """One window of the spectrum."""
        return _WINDOW

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[NDArray[np.float32]], batches: AudioBatches | None = None) -> list[Units]:
        """Units of each waveform ``(num_samples,)``.

        Raises:
            UserError: a waveform shorter than ``min_num_samples``.
        """
        from s3tokenizer import log_mel_spectrogram, padding

        check_long_enough(waveforms, self.min_num_samples)
        spectra: list[torch.Tensor] = []
        for waveform in waveforms:
            samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)).to(self.runtime.device)
            spectra.append(log_mel_spectrogram(samples))
        units: list[tuple[int, Units]] = []
        batches = batches or AudioBatches(self.runtime.batch_sec)
        for chosen in _groups(batches, [spectrum.shape[1] for spectrum in spectra]):
            batch, lengths = padding([spectra[i] for i in chosen])
            found, counts = self._network.quantize(batch.to(self.runtime.device), lengths.to(self.runtime.device))
            for index, row, count in zip(chosen, found.cpu(), counts.tolist(), strict=True):
                units.append((index, Units(row[:count].long().numpy()[:, None])))
        return in_order(units)

    def decode(self, units: Units) -> NDArray[np.float32]:
        """Always refuses: the card has no vocoder."""
        raise no_vocoder(self.name)

    def centroids(self) -> NoReturn:
        """Always refuses: not every model compares with a table."""
        raise UserError(f"the card {self.name} (family {self.family}) has no centroids")

    @classmethod
    def from_card(cls, card: Card, runtime: Runtime) -> S3:
        """Open the codec of a card: the weights that it names, by the package's name for them or as a file.

        Raises:
            UserError: an unknown model, weights that are not there or do not fit, or a card of another version.
            MissingExtraError: the package is not installed.
        """
        values, resampler = without_algorithm(card, VERSION)
        model_name, dimensions = str(values.pop("model", "")), values.pop("dimensions", {})
        if model_name not in MODELS or values:
            found = f"model {model_name!r}" if model_name not in MODELS else f"unknown parameter {next(iter(values))}"
            raise UserError(f"{card.path}: {found}; s3 knows {', '.join(MODELS)}")
        source = card.weights.source if card.weights is not None else model_name
        network = _network(model_name, source, dimensions, str(card.path))
        return checked(cls(card, model_name, network, runtime, resampler), card)


def _groups(batches: AudioBatches, lengths: list[int]) -> list[list[int]]:
    """Indices by batch: short utterances together, each long one alone (with it, short ones would be padded)."""
    short = [i for i, length in enumerate(lengths) if length <= _LONGEST]
    together = batches.groups([lengths[i] for i in short], _SAMPLE_RATE_HZ / _HOP)
    return [[short[i] for i in group] for group in together] + [
        [i] for i, length in enumerate(lengths) if length > _LONGEST
    ]


def _network(model_name: str, source: str, dimensions: Mapping[str, int], where: str) -> Any:
    try:
        import s3tokenizer
        from s3tokenizer import model as v1
        from s3tokenizer import model_v2 as v2
    except ImportError:
        raise MissingExtraError("s3tokenizer", "s3tokenizer", "the family s3") from None
    if source in MODELS and not dimensions:
        try:
            return s3tokenizer.load_model(source)
        except OSError as error:
            raise UserError(
                f"{where}: {source} cannot be downloaded ({error}): name its ONNX file as weights"
            ) from None
    file = Path(source)
    if not file.is_file():
        raise UserError(f"{where}: there is no file {file} with the weights of {model_name}")
    own = v2 if "v2" in model_name else v1
    network_class = v2.S3TokenizerV2 if own is v2 else v1.S3Tokenizer
    config = own.ModelConfig(**{"n_codebook_size": MODELS[model_name].codebook_size, **dimensions})
    network = network_class(model_name, config)
    from google.protobuf.message import DecodeError

    try:
        network.init_from_onnx(str(file))
    except (DecodeError, RuntimeError, KeyError, AssertionError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}, named by {where}, does not hold {model_name}: {reason}") from None
    return network
