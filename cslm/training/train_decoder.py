"""``train-decoder``: from the units of one voice a language to its sound (paper sections 3.1 and 4.3)."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cslm.configuration import parse_configuration
from cslm.decoder.decoder_batches import DecoderStream
from cslm.decoder.decoder_config import DecoderCard, DecoderConfig
from cslm.decoder.decoder_data import DecoderData, choose_rows, prepare_mels
from cslm.decoder.mel_cache import open_mel_cache
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.decoder.vocoders import check_vocoder
from cslm.errors import UserError
from cslm.training.engine import preparation, start_processes, wait_for_all
from cslm.training.loop import is_finished, train
from cslm.training.run_claim import claim
from cslm.training.run_folder import check_output
from cslm.training.state import MadeOf
from cslm.training.training_config import TrainingConfig
from cslm.units.store import UnitStore

MELS_FOLDER = ".mels"  # hidden: a folder with nothing else is still free for any run


@dataclass
class TrainDecoderConfig:
    """One run of ``train-decoder``. Relative paths are looked up from ``data_root``."""

    output: str
    """folder of the run: checkpoints, logs, and at the end the decoder"""
    store: str
    """unit store"""
    manifest: str
    """the manifest that the store was made from: it knows the audio"""
    voices: dict[str, list[str] | None]
    """language to the speakers of the manifest whose voice it gets; null takes all of the language"""
    training: TrainingConfig
    """length, batches, optimizer, logs; its tokens are spectrogram frames"""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """sizes of the nets and of the spectrogram, and how to sample"""
    data_root: str = "."
    """folder that relative paths start from"""
    crop_frames: int = 220
    """spectrogram frames of one training example; shorter utterances are taken whole"""
    vocoder_every: int = 4
    """a vocoder that is trained learns from one example of so many: it needs fewer, and each costs it more"""
    max_utterances: int | None = None
    """most utterances of a voice, drawn by the seed; null takes all"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if not self.voices:
            raise UserError("voices is empty: name a language and its speaker, as in voices: {en: [NAME]}")
        if min(self.crop_frames, self.vocoder_every) < 1 or (self.max_utterances or 1) < 1:
            raise UserError("crop_frames, vocoder_every and max_utterances must be at least 1")
        check_vocoder(self.decoder.vocoder)
        if (self.decoder.vocoder == "hifigan") != (self.decoder.vocoder_model is not None):
            raise UserError(
                f"decoder.vocoder is {self.decoder.vocoder} and decoder.vocoder_model {self.decoder.vocoder_model}: "
                "hifigan needs the model, and nothing else reads it"
            )
        if self.training.device.compile:
            raise UserError("training.device.compile is for language models: leave it out for a decoder")
        if not self.training.data.pack:
            raise UserError("training.data.pack is for language models: leave it out for a decoder")
        if self.training.data.alternate is not None:
            raise UserError("training.data.alternate is for language models: leave it out for a decoder")
        precision = self.training.device.precision
        if precision != "fp32":
            raise UserError(f"training.device.precision is {precision!r}: the decoder learns in fp32")


def train_decoder(config: TrainDecoderConfig) -> None:
    """Train to the end of the configuration; an interrupted run goes on, a finished one says so.

    Spectrograms are computed once into ``OUTPUT/.mels``, which goes away when training is over.

    Raises:
        UserError: an output folder of another run, a store or manifest that does not fit, or audio that cannot be
            read.
    """
    output = _locate(config, config.output)
    check_output(output, config)
    if is_finished(output, config.training):
        print(f"{output}: already finished; delete the folder to train again, or raise max_tokens", flush=True)
        return
    rank, _ = start_processes(config.training.device.num_threads)
    wait_for_all()
    with claim(output, config):
        vocoder = _pretrained_vocoder(config)
        data = _open_data(config, output, rank)
        decoder = _new_decoder(config, data, vocoder)
        stream = _open_stream(config, data, decoder)
        parts = MadeOf(sources={"store": data.store.digest})
        train(decoder, stream, config.training, output, lambda weights, at: _save(decoder, at, weights), made_of=parts)
        if rank == 0:
            shutil.rmtree(output / MELS_FOLDER)


def main(arguments: list[str]) -> None:
    """``train-decoder --config YAML [--section.key value ...]``"""
    train_decoder(parse_configuration(TrainDecoderConfig, arguments, "train-decoder"))


def _locate(config: TrainDecoderConfig, name: str) -> Path:
    """A path under the data root; one that begins with it already is left as it is."""
    root = Path(config.data_root)
    return Path(name) if Path(name).is_relative_to(root) else root / name


def _open_data(config: TrainDecoderConfig, output: Path, rank: int) -> DecoderData:
    """Utterances and their spectrograms, which rank 0 computes while the others wait."""
    store = UnitStore.open(_locate(config, config.store))
    rows, voices = choose_rows(store, config.voices, config.max_utterances, config.training.seed)
    with preparation():
        if rank == 0:
            manifest = _locate(config, config.manifest)
            mels = prepare_mels(store, rows, manifest, output / MELS_FOLDER, config.decoder, torch.get_num_threads())
    if rank != 0:
        mels = open_mel_cache(output / MELS_FOLDER)
    return DecoderData(store, rows, voices, mels)


def _pretrained_vocoder(config: TrainDecoderConfig) -> Any:
    """The model that makes the sound, where one does that others have trained; else None."""
    name = config.decoder.vocoder_model
    if name is None:
        return None
    from cslm.decoder.hifigan_vocoder import pretrained_hifigan

    folder = _locate(config, name)
    return pretrained_hifigan(config.decoder, folder if folder.is_dir() else name)


def _new_decoder(config: TrainDecoderConfig, data: DecoderData, vocoder: Any) -> SpeechDecoder:
    """A decoder with weights drawn by the seed, which knows the mean and the deviation of the spectrograms.

    Args:
        vocoder: as :func:`_pretrained_vocoder`; its weights become part of the decoder, its place is forgotten.
    """
    store, shape = data.store, None
    if vocoder is not None:
        from cslm.decoder.hifigan_vocoder import shape_of

        shape = shape_of(vocoder)
    card = DecoderCard(
        dataclasses.replace(config.decoder, vocoder_model=None, vocoder_revision=None),
        store.fingerprint,
        tuple(store.codebook_sizes),
        store.frame_rate_hz,
        tuple(config.voices),
        shape,
    )
    torch.manual_seed(config.training.seed)
    decoder = SpeechDecoder(card)
    if vocoder is not None:
        decoder.vocoder.take(vocoder)
    decoder.mel_mean.copy_(torch.from_numpy(data.mels.mean))
    decoder.mel_deviation.copy_(torch.from_numpy(data.mels.deviation))
    return decoder


def _open_stream(config: TrainDecoderConfig, data: DecoderData, decoder: SpeechDecoder) -> DecoderStream:
    training = config.training
    return DecoderStream(
        data,
        decoder.grid,
        config.crop_frames,
        crops_per_step=max(1, training.tokens_per_step // config.crop_frames),
        crops_per_micro=max(1, training.tokens_per_micro_batch // config.crop_frames),
        seed=training.seed,
        vocoder_every=config.vocoder_every,
    )


def _save(decoder: SpeechDecoder, output: Path, weights: dict[str, Tensor]) -> None:
    decoder.save_pretrained(output, weights)
    num_parameters = sum(parameter.numel() for parameter in decoder.parameters())
    print(f"{output}: the decoder, {num_parameters:,} parameters, voices {', '.join(decoder.voices)}", flush=True)
