"""``check-tokenizer``: how far the units of an utterance depend on what should not matter.

A sample of a corpus is encoded utterance by utterance, then in batches, in other company and on another number of
threads. A share of changed units above some in ten thousand says that padding leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.waveform import load_waveform
from cslm.codecs.codec import UnitCodec
from cslm.codecs.families import load_codec
from cslm.codecs.units import Units
from cslm.configuration import parse_configuration
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.encoders.audio_batches import AudioBatches
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError

Waveforms = Sequence[NDArray[np.float32]]
Encode = Callable[[AudioBatches], list[Units]]

_ALONE_SEC = 1e-6  # a batch that short holds one utterance


@dataclass
class CheckTokenizerConfig:
    """Measure how far units depend on batches, order and threads: ``check-tokenizer CARD MANIFEST``."""

    tokenizer: str
    """Card of the speech tokenizer: a path, or the name of a shipped one."""
    manifest: str
    """Utterances to draw from; the more their lengths differ, the harder the check."""
    num_utterances: int = 64
    """How many are drawn."""
    batch_sec: float = BATCH_SEC
    """Audio in a batch, as ``tokenize-corpus`` will use."""
    device: str = "auto"
    """Where networks run (auto: the first accelerator, else cpu)."""
    seed: int = 0
    """Decides which utterances are drawn and in which company they are encoded."""


@dataclass(frozen=True)
class Change:
    """What one way of encoding changed, against each utterance alone."""

    way: str
    num_frames: int
    num_changed: int
    num_utterances_changed: int
    padding_share: float

    @property
    def share(self) -> float:
        """Share of frames with another unit."""
        return self.num_changed / self.num_frames


def check_tokenizer(config: CheckTokenizerConfig) -> list[Change]:
    """Encode the sample in each way and print what changes.

    Raises:
        UserError: a bad card or manifest, or not one utterance that can be encoded.
    """
    codec = load_codec(config.tokenizer, make_runtime(config.device, config.batch_sec))
    waveforms, skipped = _sample(config, codec)
    generator = np.random.default_rng(config.seed)
    alone = codec.encode(waveforms, AudioBatches(_ALONE_SEC))
    ways: list[tuple[str, float, Encode]] = [
        (f"batches of {config.batch_sec:g} s", config.batch_sec, partial(codec.encode, waveforms)),
        (f"batches of {4 * config.batch_sec:g} s", 4 * config.batch_sec, partial(codec.encode, waveforms)),
        ("random company", float("inf"), partial(_in_random_company, codec, waveforms, generator)),
        (
            f"{_other_threads()} thread(s) instead of {torch.get_num_threads()}",
            config.batch_sec,
            partial(_on_other_threads, codec, waveforms),
        ),
    ]
    changes = [_change(way, AudioBatches(batch_sec), encode, alone) for way, batch_sec, encode in ways]
    width = max(len(change.way) for change in changes)
    told = f", {skipped} could not be used" if skipped else ""
    print(f"{config.tokenizer}: {len(waveforms)} utterances{told}, {changes[0].num_frames} frames; against each alone:")
    for change in changes:
        touched = f"{change.num_changed} in {change.num_utterances_changed} utterances"
        print(f"  {change.way:<{width}}  changed {change.share:8.4%} ({touched}), padding {change.padding_share:.1%}")
    return changes


def _sample(config: CheckTokenizerConfig, codec: UnitCodec) -> tuple[list[NDArray[np.float32]], int]:
    utterances = list(read_manifest(config.manifest))
    order = np.random.default_rng(config.seed).permutation(len(utterances))
    waveforms, skipped = list[NDArray[np.float32]](), 0
    for index in order:
        if len(waveforms) == config.num_utterances:
            break
        utterance = utterances[index]
        path = resolve_audio(config.manifest, utterance)
        try:
            part = (utterance.start_sec, utterance.duration_sec)
            waveform, _ = load_waveform(path, *part, codec.sample_rate_hz, channel=utterance.channel)
        except UserError:
            skipped += 1
            continue
        if len(waveform) < codec.min_num_samples:
            skipped += 1
            continue
        waveforms.append(waveform)
    if not waveforms:
        raise UserError(f"{config.manifest}: not one utterance can be encoded ({skipped} cannot be read)")
    return waveforms, skipped


def _change(way: str, batches: AudioBatches, encode: Encode, alone: list[Units]) -> Change:
    found = encode(batches)
    assert [len(one) for one in found] == [len(one) for one in alone], "another number of frames"
    changed = [int((one.ids != other.ids).any(axis=1).sum()) for one, other in zip(found, alone, strict=True)]
    return Change(way, sum(len(one) for one in alone), sum(changed), sum(map(bool, changed)), batches.padding_share)


def _in_random_company(
    codec: UnitCodec, waveforms: Waveforms, generator: np.random.Generator, batches: AudioBatches
) -> list[Units]:
    """A few utterances at a time, of any lengths, so that short ones are padded to long ones."""
    found: list[Units | None] = [None] * len(waveforms)
    order = generator.permutation(len(waveforms))
    for start in range(0, len(order), 4):
        chosen = order[start : start + 4]
        for index, units in zip(chosen, codec.encode([waveforms[i] for i in chosen], batches), strict=True):
            found[index] = units
    return [units for units in found if units is not None]


def _on_other_threads(codec: UnitCodec, waveforms: Waveforms, batches: AudioBatches) -> list[Units]:
    before = torch.get_num_threads()
    torch.set_num_threads(_other_threads())
    try:
        return codec.encode(waveforms, batches)
    finally:
        torch.set_num_threads(before)


def _other_threads() -> int:
    return 1 if torch.get_num_threads() > 1 else 2


def main(arguments: list[str]) -> None:
    """Command line: the card and the manifest, then options."""
    check_tokenizer(
        parse_configuration(CheckTokenizerConfig, arguments, "check-tokenizer", positionals=("tokenizer", "manifest"))
    )
