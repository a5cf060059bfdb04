"""How fast a card tokenizes, beside the ways others do it: same audio, model, threads and machine, one after another.

The ways (``python tools/bench_tokenize.py``): (a) one clip at a time; (b) fixed batches in corpus order, padded with
zeros to the longest; (c) the same, sorted by length; (d) ours: batches by seconds, within windows sorted by length,
that leave padding out of what has no mask. For a model of transformers, a to c call its own processor and model as its
pages say. Each way runs in a process of its own, and all of them several times in turn, since machines have slow and
fast minutes: the speed is the median. A few clips before the clock warm it up.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.waveform import load_waveform
from cslm.codecs.card import Card, load_card, save_card
from cslm.codecs.codec import UnitCodec
from cslm.codecs.families import load_codec
from cslm.codecs.ssl_kmeans import SslKMeans, SslKMeansParameters
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError

Clips = list[NDArray[np.float32]]
Encode = Callable[[Clips], list[NDArray[np.int64]]]

WAYS = {
    "a": "one clip at a time",
    "b": "fixed batches, corpus order, padded",
    "c": "fixed batches, sorted, padded",
    "d": "ours",
}
RANDOM_MODELS = ("hubert_base",)
_SAMPLE_RATE_HZ = 16000
_SHORTEST_SEC, _LONGEST_SEC = 1.0, 20.0
_MEDIAN_SEC, _SPREAD = 10.0, 0.6  # of a log-normal: most between 3 and 20 s, as in read speech
_RANDOM_UNITS = 500


@dataclass(frozen=True)
class Work:
    """What each of the processes is told."""

    card: str
    clips: str
    """An ``.npz`` file with the clips, in corpus order."""
    batch_size: int
    """Clips in a batch of (b) and (c)."""
    batch_sec: float
    """Seconds in a batch of (d)."""
    threads: int


def tokenizing_speed(
    card: str, manifest: str, minutes: float, batch_size: int, batch_sec: float, threads: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for each way: ``way``, ``audio_sec_per_sec``, ``padding_share``, ``share_changed``, ``peak_memory_mib``.

    Args:
        card: a card, or ``hubert_base``: that architecture with random weights, and 500 of its frames as centroids.
        manifest: audio to cut clips of 1 to 20 s from.
        minutes: audio in all.
        batch_size: clips in a batch of (b) and (c).
        batch_sec: seconds in a batch of (d).
        threads: of every way.
        rounds: times that every way runs.

    Raises:
        UserError: a bad card or manifest, or too little audio.
    """
    with tempfile.TemporaryDirectory() as folder:
        clips = read_speech_clips(manifest, minutes)
        np.savez(Path(folder) / "clips.npz", *clips)
        if card in RANDOM_MODELS:
            card = str(_random_card(Path(folder), clips))
        work = Work(card, str(Path(folder) / "clips.npz"), batch_size, batch_sec, threads)
        found = [[_in_a_process(way, work) for way in WAYS] for _ in range(rounds)]
    rows = found[0]
    for index, row in enumerate(rows):
        every = sorted(one[index]["audio_sec_per_sec"] for one in found)
        row["audio_sec_per_sec"], row["every_audio_sec_per_sec"] = statistics.median(every), every
    alone = rows[0]["units"]
    for row in rows:
        pairs = list(zip(row.pop("units"), alone, strict=True))
        changed = sum(sum(x != y for x, y in zip(one, other, strict=True)) for one, other in pairs)
        row["share_changed"] = changed / sum(len(other) for _, other in pairs)
    return rows


def read_speech_clips(manifest: str, minutes: float) -> Clips:
    """The audio of a manifest, joined and cut into clips of lengths as in read speech, the same for every call."""
    generator, wanted = np.random.default_rng(0), minutes * 60 * _SAMPLE_RATE_HZ
    pieces, count = [], 0
    for utterance in read_manifest(manifest):
        path = resolve_audio(manifest, utterance)
        part = (utterance.start_sec, utterance.duration_sec)
        pieces.append(load_waveform(path, *part, _SAMPLE_RATE_HZ, channel=utterance.channel)[0])
        count += len(pieces[-1])
        if count >= wanted:
            break
    audio, clips, start = np.concatenate(pieces), Clips(), 0
    while True:
        drawn_sec = float(_MEDIAN_SEC * np.exp(_SPREAD * generator.standard_normal()))
        length = round(min(max(drawn_sec, _SHORTEST_SEC), _LONGEST_SEC) * _SAMPLE_RATE_HZ)
        if start + length > min(len(audio), wanted):
            break
        clips.append(audio[start : start + length])
        start += length
    if len(clips) < 2 * len(WAYS):
        raise UserError(f"{manifest}: {count / _SAMPLE_RATE_HZ:.0f} s of audio make {len(clips)} clips: give more")
    return clips


def _random_card(folder: Path, clips: Clips) -> Path:
    """A card of HuBERT-base's size: random weights, and frames of the clips as centroids."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder / "model")
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder / "model")
    parameters = SslKMeansParameters(model=str(folder / "model"), layer=9)
    codec, _ = SslKMeans.fit(clips[:20], name="random", parameters=parameters, codebook_size=_RANDOM_UNITS, seed=0)
    save_card(codec.card(), folder / "card.yaml", codec.tensors)
    return folder / "card.yaml"


def _in_a_process(way: str, work: Work) -> dict[str, Any]:
    asked = json.dumps({"way": way, **work.__dict__})
    done = subprocess.run([sys.executable, "-m", __name__, asked], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"way {way} stopped with status {done.returncode}: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def run_way(way: str, work: Work) -> dict[str, Any]:
    """One way, measured here: its row, with the units of every clip."""
    torch.set_num_threads(work.threads)
    archive = np.load(work.clips)
    clips = [archive[name] for name in archive.files]
    card = load_card(work.card)
    codec = load_codec(work.card, Runtime("cpu", work.batch_sec))
    own = AudioBatches(work.batch_sec)
    encode = _ours(codec, own) if way == "d" else _as_others(card, codec)
    batches = _batches(way, [len(clip) for clip in clips], work.batch_size)
    encode([clip[:_SAMPLE_RATE_HZ] for clip in clips[:2]])
    own.num_frames = own.num_slots = 0
    start = time.perf_counter()
    units: list[list[int]] = [[] for _ in clips]
    for chosen in batches:
        for index, found in zip(chosen, encode([clips[i] for i in chosen]), strict=True):
            units[index] = found.tolist()
    seconds = time.perf_counter() - start
    num_samples = sum(map(len, clips))
    slots = sum(len(chosen) * max(len(clips[i]) for i in chosen) for chosen in batches)
    padding = own.padding_share if way == "d" else 1 - num_samples / slots
    return {
        "way": way,
        "audio_sec_per_sec": num_samples / _SAMPLE_RATE_HZ / seconds,
        "padding_share": padding,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "units": units,
    }


def _batches(way: str, lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    if way == "d":
        return [list(range(len(lengths)))]
    order = sorted(range(len(lengths)), key=lengths.__getitem__) if way == "c" else list(range(len(lengths)))
    size = 1 if way == "a" else batch_size
    return [order[start : start + size] for start in range(0, len(order), size)]


def _ours(codec: UnitCodec, batches: AudioBatches) -> Encode:
    return lambda clips: [units.ids[:, 0] for units in codec.encode(clips, batches)]


def _as_others(card: Card, codec: UnitCodec) -> Encode:
    """Encode a batch padded with zeros, and leave out the frames after a clip's end."""
    if isinstance(codec, SslKMeans):
        return _by_transformers(card, codec)
    num_frames: dict[int, int] = {}

    def encode(clips: Clips) -> list[NDArray[np.int64]]:
        longest = max(map(len, clips))
        found = codec.encode([np.pad(clip, (0, longest - len(clip))) for clip in clips])
        for clip in clips:
            if len(clip) not in num_frames:
                num_frames[len(clip)] = len(codec.encode([np.zeros(len(clip), np.float32)])[0])
        return [units.ids[: num_frames[len(clip)], 0] for clip, units in zip(clips, found, strict=True)]

    return encode


def _by_transformers(card: Card, codec: SslKMeans) -> Encode:
    from transformers import AutoFeatureExtractor, AutoModel

    assert card.weights is not None
    processor = AutoFeatureExtractor.from_pretrained(card.weights.source, revision=card.weights.revision)
    model = AutoModel.from_pretrained(card.weights.source, revision=card.weights.revision, dtype=torch.float32).eval()
    layer = int(card.parameters["layer"])
    model.encoder.layers = model.encoder.layers[:layer]  # as a careful user would: what comes later costs nothing
    centroids = torch.from_numpy(codec.tensors["centroids"])
    norms = centroids.square().sum(1)

    @torch.inference_mode()
    def encode(clips: Clips) -> list[NDArray[np.int64]]:
        inputs = processor(clips, sampling_rate=_SAMPLE_RATE_HZ, padding=True, return_tensors="pt")
        hidden = model(**inputs).last_hidden_state
        units = torch.addmm(norms, hidden.flatten(0, 1), centroids.T, alpha=-2).argmin(1).reshape(hidden.shape[:2])
        return [row[: codec.num_frames(len(clip))].numpy() for row, clip in zip(units, clips, strict=True)]

    return encode


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The rows as a table in Markdown."""
    yield "| way | audio seconds a second | padding | units changed | peak memory |"
    yield "|---|---|---|---|---|"
    for row in rows:
        speed, padding, changed = row["audio_sec_per_sec"], row["padding_share"], row["share_changed"]
        memory = row["peak_memory_mib"]
        yield f"| ({row['way']}) {WAYS[row['way']]} | {speed:.1f} | {padding:.1%} | {changed:.3%} | {memory:.0f} MiB |"


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(run_way(asked.pop("way"), Work(**asked))))
