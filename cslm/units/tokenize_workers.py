"""Who tokenizes the shards: this process, processes of this machine, or a Ray cluster. The work is the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cslm.codecs.codec import UnitCodec
from cslm.codecs.families import load_codec
from cslm.encoders.runtime import make_runtime
from cslm.errors import MissingExtraError, UserError
from cslm.units import worker_processes
from cslm.units.tokenize_shard import Job, tokenize_shard
from cslm.units.tokenizing_progress import Receipt, TokenizingProgress


@dataclass(frozen=True)
class Work:
    """What a worker needs to make a codec of its own."""

    card: str
    """Path of the card."""
    batch_sec: float
    """Audio in a batch."""
    is_neural: bool
    """Worth an accelerator."""


def in_this_process(jobs: Iterator[Job], codec: UnitCodec, progress: TokenizingProgress) -> Iterator[Receipt | None]:
    """One thread, as in the workers: the same sums in the same order."""
    num_threads = torch.get_num_threads()
    try:
        for job in jobs:
            torch.set_num_threads(1)
            receipt = tokenize_shard(job, codec, progress)
            torch.set_num_threads(num_threads)
            yield receipt
    finally:
        torch.set_num_threads(num_threads)


def in_processes(
    jobs: Iterator[Job], work: Work, progress: TokenizingProgress, devices: list[str]
) -> Iterator[Receipt | None]:
    """A process for each of the devices, each with a codec of its own."""
    return worker_processes.in_processes(jobs, functools.partial(_opened, work, progress), devices)


def _opened(work: Work, progress: TokenizingProgress, device: str) -> Callable[[Job], Receipt | None]:
    codec = load_codec(work.card, make_runtime(device, work.batch_sec))
    return functools.partial(tokenize_shard, codec=codec, progress=progress)


_worker_codec: UnitCodec | None = None


def on_ray(
    jobs: Iterator[Job], work: Work, progress: TokenizingProgress, address: str | None, device: str
) -> Iterator[Receipt | None]:
    """A core, or an accelerator, of a Ray cluster for each shard; what a lost node was doing is done again elsewhere.

    With ``device`` ``auto``, neural tokenizers run on the cluster's accelerators if it has any.

    Raises:
        MissingExtraError: Ray is not installed.
        UserError: no cluster at that address.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray", "--engine ray") from None
    package = Path(__file__).resolve().parents[2]
    try:
        ray.init(address, runtime_env={"env_vars": {"PYTHONPATH": str(package)}}, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise UserError(f"no Ray cluster at {address}: {error}") from None
    try:
        resources = ray.cluster_resources()
        accelerated = work.is_neural and device != "cpu" and (device != "auto" or "GPU" in resources)
        remote: Any = ray.remote(num_cpus=1, num_gpus=int(accelerated), max_retries=-1)(_work_on_ray)
        slots = max(1, int(resources.get("GPU" if accelerated else "CPU", 1)))
        waiting: list[Any] = []
        for job in jobs:
            waiting.append(remote.remote(job, progress, work, device))
            if len(waiting) >= 2 * slots:
                done, waiting = ray.wait(waiting, num_returns=1)
                yield ray.get(done[0])
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            yield ray.get(done[0])
    finally:
        ray.shutdown()


def _work_on_ray(job: Job, progress: TokenizingProgress, work: Work, device: str) -> Receipt | None:
    global _worker_codec
    if _worker_codec is None:  # Ray keeps the process for the next shards
        torch.set_num_threads(1)
        _worker_codec = load_codec(work.card, make_runtime(device, work.batch_sec))
    return tokenize_shard(job, _worker_codec, progress)
