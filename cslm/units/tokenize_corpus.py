"""``tokenize-corpus``: from manifests to a unit store, exactly once.

The utterances of a shard are fixed by the manifests alone, so any number of workers, and any number of times that the
command was stopped and started again, give the same bytes. While a store is being made its folder also holds
``.progress``: the plan, and one receipt for each finished shard. The header is written last. Nothing is appended to.
Several invocations may work on one store: they share it out by shard.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from cslm.codecs.card import find_card, load_card
from cslm.codecs.codec import UnitCodec
from cslm.codecs.families import family_class, load_codec
from cslm.configuration import parse_configuration
from cslm.corpora.given_manifests import corpus_digest, with_manifests
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError
from cslm.files.atomic_file import folder_at
from cslm.files.progress import progress_bar
from cslm.units.shards import StoreHeader
from cslm.units.tokenize_shard import Job
from cslm.units.tokenize_workers import Work, in_processes, in_this_process, on_ray
from cslm.units.tokenizing_progress import Plan, Receipt, TokenizingProgress

_SECONDS_BETWEEN_LOOKS = 1.0
_NEURAL_MAX_SEC = 120.0
_MOST_ASKED = 1000  # utterances of which one is looked for that is there


@dataclass
class TokenizeCorpusConfig:
    """Tokenize a corpus: ``tokenize_corpus.py MANIFEST [MANIFEST ...] --tokenizer CARD --output STORE``."""

    manifests: list[str]
    """Manifests to tokenize, in this order."""
    tokenizer: str
    """Card of the speech tokenizer: a path, or the name of a shipped one."""
    output: str
    """Folder of the store: a path or an fsspec URL."""
    num_workers: int = 0
    """Processes that tokenize (0: one a core). Does not change the store."""
    utterances_per_shard: int = 1000
    """Utterances in a shard: what a kill loses at most."""
    shard: str = "0/1"
    """Do only this part of the shards, i/n with i from 0 on, as one task of an array; the last to finish completes."""
    max_sec: float | None = None
    """Longer utterances are rejected (default: 120 for a neural tokenizer, no limit for others)."""
    max_rejected_share: float = 1.0
    """Where a larger share is rejected, the command ends with status 2; the store is written all the same."""
    root: str | None = None
    """Audio outside this folder is rejected: a manifest from others may name any file (default: any may be read)."""
    engine: str = "local"
    """``local``: processes of this machine; ``ray``: a Ray cluster, which must see manifests, audio and output."""
    ray_address: str | None = None
    """Address of a Ray cluster (default: the one that RAY_ADDRESS names, or one on this machine alone)."""
    device: str = "auto"
    """Where neural tokenizers run (auto: one process on each accelerator, or on each core where there is none)."""
    batch_sec: float = BATCH_SEC
    """Audio in a batch of a neural tokenizer, padding included; another size may change a unit in ten thousand."""

    @property
    def part(self) -> tuple[int, int]:
        """``shard`` as numbers.

        Raises:
            UserError: it is not i/n with 0 <= i < n.
        """
        part, _, count = self.shard.partition("/")
        if not (part.isdecimal() and count.isdecimal() and int(part) < int(count)):
            raise UserError(f"--shard is {self.shard!r}: i/n is wanted, i from 0 to n - 1 (0/4, 1/4, 2/4, 3/4)")
        return int(part), int(count)


def tokenize_corpus(config: TokenizeCorpusConfig) -> StoreHeader | None:
    """Tokenize every utterance of the manifests; go on where an earlier run of the same work stopped.

    Utterances that cannot be used are left out and listed, with reasons, in ``rejected.jsonl``.

    Returns:
        The header, or None where other parts (``shard``) are still to be done.

    Raises:
        UserError: a bad manifest or card, a folder that holds other work, or a corpus without one usable utterance; or
            more is rejected than allowed, and then the store is made all the same.
    """
    config.part  # noqa: B018  (checked before anything is done)
    if config.engine not in ("local", "ray"):
        raise UserError(f"--engine is local or ray, not {config.engine!r}")
    if config.utterances_per_shard < 1 or config.num_workers < 0:
        raise UserError("utterances_per_shard must be at least 1 and num_workers at least 0")
    if not 0 <= config.max_rejected_share <= 1:
        raise UserError(f"--max_rejected_share is a share from 0 to 1, not {config.max_rejected_share}")
    config = _with_absolute_paths(config) if config.engine == "ray" else config
    devices = _devices(config)
    # workers have codecs of their own: this one is then asked for its facts alone
    device = devices[0] if len(devices) == 1 and config.engine == "local" else "cpu"
    codec = load_codec(config.tokenizer, make_runtime(device, config.batch_sec))
    corpus = corpus_digest(config.manifests)
    plan = Plan(
        codec.fingerprint,
        corpus.digest,
        config.utterances_per_shard,
        corpus.num_utterances,
        batch_sec=config.batch_sec if codec.is_neural else None,
        max_sec=config.max_sec or (_NEURAL_MAX_SEC if codec.is_neural else None),
        root=None if config.root is None else os.path.realpath(config.root),
        in_documents=corpus.in_documents,
    )
    progress = TokenizingProgress(folder_at(config.output), plan)
    finished = progress.finished_header()
    if finished is not None:
        print(f"{config.output} is already complete: {_summary(finished)}", file=sys.stderr)
        return _checked_share(finished, config)
    progress.begin()
    done = _tokenize_shards(config, codec, progress, devices)
    left = len(progress.missing_shards())
    if left:
        print(f"{config.output}: part {config.shard} is done; {left} shards are left to the others", file=sys.stderr)
        return None
    header = progress.finish(codec)
    told = f"; {done.audio_sec / done.seconds:.0f} x real time{done.padding}" if done.audio_sec else ""
    print(f"{config.output}: {_summary(header)}{told}", file=sys.stderr)
    return _checked_share(header, config)


def _checked_share(header: StoreHeader, config: TokenizeCorpusConfig) -> StoreHeader:
    """The header, unless more was rejected than ``max_rejected_share`` allows."""
    share = header.num_rejected / (header.num_rejected + header.num_utterances)
    if share > config.max_rejected_share:
        raise UserError(
            f"{config.output}: is made, but {share:.1%} of the utterances were rejected (see rejected.jsonl): mend them"
            ", or allow it with --max_rejected_share"
        )
    return header


def _with_absolute_paths(config: TokenizeCorpusConfig) -> TokenizeCorpusConfig:
    """Paths that mean the same in another working directory."""
    return dataclasses.replace(
        config,
        manifests=[_absolute(manifest) for manifest in config.manifests],
        tokenizer=str(find_card(config.tokenizer).resolve()),
        output=_absolute(config.output),
    )


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(place)


def _summary(header: StoreHeader) -> str:
    rejected = f", {header.num_rejected} rejected (see rejected.jsonl)" if header.num_rejected else ", none rejected"
    return (
        f"{header.num_utterances} utterances, {header.audio_sec / 3600:.2f} hours, {header.num_units} units"
        f" from {header.num_frames} frames{rejected}"
    )


@dataclass
class _Done:
    """What was tokenized here."""

    audio_sec: float = 0.0
    num_frames: int = 0
    num_slots: int = 0
    num_rejected: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        """Hours of audio, the rate, what was rejected, and how much of the batches was padding."""
        rejected = f", {self.num_rejected} rejected" if self.num_rejected else ""
        rate = f"{self.audio_sec / self.seconds:.0f} hours an hour"
        return f"{self.audio_sec / 3600:.2f} hours at {rate}{rejected}{self.padding}"

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def padding(self) -> str:
        """How much of the batches was padding, as words."""
        return f", {1 - self.num_frames / self.num_slots:.1%} padding" if self.num_slots else ""

    def add(self, receipt: Receipt) -> None:
        self.num_rejected += len(receipt.rejected)
        self.audio_sec += receipt.shard.audio_sec if receipt.shard is not None else 0.0
        self.num_frames += receipt.num_frames
        self.num_slots += receipt.num_slots


def _tokenize_shards(
    config: TokenizeCorpusConfig, codec: UnitCodec, progress: TokenizingProgress, devices: list[str]
) -> _Done:
    """Go through the shards until each has its receipt."""
    work = Work(config.tokenizer, config.batch_sec, codec.is_neural)
    done, missing = _Done(), _own(progress.missing_shards(), config)
    while missing:
        jobs, devices = _jobs(config, missing), devices[: len(missing)]
        if config.engine == "ray":
            receipts = on_ray(jobs, work, progress, config.ray_address, config.device)
        elif devices == [codec.runtime.device]:
            receipts = in_this_process(jobs, codec, progress)
        else:
            receipts = in_processes(jobs, work, progress, devices)
        label = f"tokenizing ({config.utterances_per_shard} utterances a step)"
        for receipt in progress_bar(receipts, len(missing), label, done.__str__):
            if receipt is not None:
                done.add(receipt)
        missing = _own(progress.missing_shards(), config)  # what is left now, others hold: see what they leave
        devices = devices[:1]
        if missing:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return done


def _own(missing: list[int], config: TokenizeCorpusConfig) -> list[int]:
    """Of the missing shards, those that this invocation sees to: all, or those of ``--shard i/n``."""
    part, count = config.part
    return [index for index in missing if index % count == part]


def _devices(config: TokenizeCorpusConfig) -> list[str]:
    """Where each worker of this machine runs its networks."""
    if config.engine == "ray":
        return ["cpu"]
    is_neural = family_class(load_card(config.tokenizer).family).is_neural
    device = make_runtime(config.device, config.batch_sec).device
    if not is_neural or device == "cpu":
        return ["cpu"] * (config.num_workers or len(os.sched_getaffinity(0)))
    every = [device] if ":" in device else [f"{device}:{i}" for i in range(torch.accelerator.device_count())]
    return [every[i % len(every)] for i in range(config.num_workers or len(every))]


def _jobs(config: TokenizeCorpusConfig, missing: list[int]) -> Iterator[Job]:
    """The jobs of the missing shards; reads the manifests along the way, one shard in memory at a time."""
    wanted, rows, index, witness = set(missing), list[tuple[str, Utterance]](), 0, None
    for manifest in config.manifests:
        for utterance in read_manifest(manifest):
            if witness is None and index < _MOST_ASKED:
                path = resolve_audio(manifest, utterance)
                witness = path if os.path.isfile(path) else None
            if index // config.utterances_per_shard in wanted:
                rows.append((resolve_audio(manifest, utterance), utterance))
            index += 1
            if rows and index % config.utterances_per_shard == 0:
                yield Job(index // config.utterances_per_shard - 1, rows, witness)
                rows = []
    if rows:
        yield Job(index // config.utterances_per_shard, rows, witness)


def main(arguments: list[str]) -> None:
    """Command line: manifests first, then options."""
    tokenize_corpus(parse_configuration(TokenizeCorpusConfig, with_manifests(arguments), "tokenize-corpus"))
