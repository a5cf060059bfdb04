"""``make-frames``: what a frozen encoder makes of recordings, once, so that training runs the language model alone.

For small sets: of Whisper-small a second is 75 KiB in float16, so a hundred hours are 26 GiB.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from cslm.audio.waveform import load_waveform, loudness
from cslm.codecs.encoder_hash import ENCODER, encoder_hash
from cslm.configuration import parse_configuration, to_plain
from cslm.corpora.given_manifests import corpus_digest, with_manifests
from cslm.corpora.intake import printable
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.encoders.encoder_config import EncoderConfig, HearingConfig, LongAudioConfig
from cslm.encoders.encoders import open_hearing
from cslm.encoders.long_audio import LongAudioEncoder
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.units.make_samples import MadeRows, Makes, SamplesJob, make_samples
from cslm.units.sample_store import FRAMES, Making, SampleHeader
from cslm.units.worker_processes import only_device, worker_devices

_DTYPES = {"float16": pa.float16(), "float32": pa.float32()}


@dataclass
class MakeFramesConfig:
    """Frames of an encoder: ``make_frames.py MANIFEST [MANIFEST ...] --encoder.whisper.model M --output STORE``."""

    manifests: list[str]
    """Manifests whose recordings are heard, in this order."""
    output: str
    """Folder of the store: a path or an fsspec URL."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The frozen encoder; training names the same one."""
    long_audio: LongAudioConfig = field(default_factory=LongAudioConfig)
    """Recordings that are longer than it takes at once; training says the same."""
    dtype: str = "float16"
    """What frames are kept as: float16 or float32."""
    utterances_per_shard: int = 200
    """Recordings in a shard: what a kill loses at most."""
    num_workers: int = 0
    """Processes (0: one on each accelerator, or one where there is none)."""
    device: str = "auto"
    """Where the encoder runs (auto: the first accelerator, else cpu)."""
    batch_sec: float = BATCH_SEC
    """Audio that it takes together."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, by name.
        """
        check_numbers(self, "", utterances_per_shard=Range(least=1), num_workers=Range(least=0))
        if self.dtype not in _DTYPES:
            raise UserError(f"dtype is {self.dtype!r}: choose one of {', '.join(_DTYPES)}")


class Frames:
    """Makes the rows of shards."""

    def __init__(self, encoder: LongAudioEncoder, dtype: str) -> None:
        self._encoder, self._dtype = encoder, dtype

    def __call__(self, job: SamplesJob) -> MadeRows:
        """A row for each recording that can be heard."""
        heard: list[Utterance] = []
        waveforms: list[np.ndarray] = []
        rejected: list[dict[str, str]] = []
        for path, utterance in job.samples:
            try:
                waveforms.append(self._read(path, utterance))
                heard.append(utterance)
            except UserError as error:
                reason = printable(str(error).replace(path, utterance.audio))
                rejected.append({"id": utterance.id, "reason": reason})
        found = dict(self._encoder(waveforms))
        rows = [found[index].float().cpu().numpy().astype(self._dtype) for index in range(len(heard))]
        table = pa.table(
            {
                "id": pa.array([utterance.id for utterance in heard], pa.string()),
                "num_samples": pa.array([len(one) for one in waveforms], pa.int64()),
                "loudness": pa.array([loudness(one) for one in waveforms], pa.float32()),
                "num_frames": pa.array([len(row) for row in rows], pa.int64()),
                "frames": pa.array([row.ravel() for row in rows], pa.list_(_DTYPES[self._dtype])),
            }
        )
        return MadeRows(table, rejected, {"frames": sum(len(row) for row in rows)})

    def _read(self, path: str, utterance: Utterance) -> np.ndarray:
        part = utterance.start_sec, utterance.duration_sec, self._encoder.sample_rate_hz
        waveform, _ = load_waveform(path, *part, channel=utterance.channel)
        fault = self._encoder.fault(len(waveform))
        if fault is not None:
            raise UserError(f"{path}: {fault}")
        return waveform


def make_frames(config: MakeFramesConfig) -> SampleHeader:
    """Encode every recording; go on where an earlier run of the same work stopped.

    Raises:
        UserError: a bad manifest, an encoder that cannot be opened, a folder that holds other work, or not one
            recording that can be heard.
    """
    corpus = corpus_digest(config.manifests)
    devices = worker_devices(config.device, config.num_workers)
    hearing = HearingConfig(config.encoder, config.long_audio)
    first = open_hearing(hearing, make_runtime(only_device(devices), config.batch_sec))
    making = Making(
        kind=FRAMES,
        made_with={ENCODER: encoder_hash(first)},
        settings={"dtype": config.dtype, "batch_sec": config.batch_sec, "long_audio": to_plain(config.long_audio)},
        samples=corpus.digest,
        num_samples=corpus.num_utterances,
        samples_per_shard=config.utterances_per_shard,
    )
    opens: Callable[[str], Makes] = functools.partial(_open, hearing, config.batch_sec, config.dtype)
    if len(devices) == 1:
        opens = functools.partial(_given, Frames(first, config.dtype))
    samples = functools.partial(_samples, config.manifests)
    return make_samples(config.output, making, opens, samples, devices, "encoding")


def _open(hearing: HearingConfig, batch_sec: float, dtype: str, device: str) -> Makes:
    return Frames(open_hearing(hearing, make_runtime(device, batch_sec)), dtype)


def _given(makes: Makes, device: str) -> Makes:
    return makes


def _samples(manifests: list[str]) -> Iterator[tuple[str, Utterance]]:
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            yield resolve_audio(manifest, utterance), utterance


def main(arguments: list[str]) -> None:
    """Command line: manifests first, then options."""
    make_frames(parse_configuration(MakeFramesConfig, with_manifests(arguments), "make-frames"))
