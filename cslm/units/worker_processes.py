"""Jobs in processes of this machine, each with what it opened once. For networks that are frozen and work by shards."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    jobs: Iterator[Job], opens: Callable[[str], Callable[[Job], Result]], devices: list[str]
) -> Iterator[Result]:
    """The result of each job, in order, from a process for each of the devices.

    Only a few jobs wait at a time, so what they are made of is never held as a whole.

    Args:
        opens: called once in each process with its device, gives what does a job there; it is pickled.
    """
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Result]] = deque()
    workers, free = len(devices), context.Queue()
    for device in devices:
        free.put(device)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_open_worker, initargs=(opens, free)) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(_work, job))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a process of the work was killed from outside, for want of memory perhaps: it goes on from "
                "there when it is started again; with fewer workers, perhaps"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def worker_devices(device: str, num_workers: int) -> list[str]:
    """Where each process runs a large network: one on each accelerator, or one where there is none, for 0 workers.

    Raises:
        UserError: a device that this machine does not have.
    """
    found = make_runtime(device, BATCH_SEC).device
    if found == "cpu":
        return ["cpu"] * max(1, min(num_workers, len(os.sched_getaffinity(0))))
    every = [found] if ":" in found else [f"{found}:{i}" for i in range(torch.accelerator.device_count())]
    return [every[i % len(every)] for i in range(num_workers or len(every))]


def only_device(devices: Sequence[str]) -> str:
    """Where a network is opened for the process that starts the others: no accelerator holds it twice."""
    return devices[0] if len(devices) == 1 else "cpu"


_does: Callable[[Any], Any] | None = None


def _open_worker(opens: Callable[[str], Callable[[Any], Any]], devices: multiprocessing.Queue[str]) -> None:
    global _does
    atexit.register(_leave_at_once)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _does = opens(devices.get())


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # the parent was killed: nobody waits for this shard


def _leave_at_once() -> None:
    """Leave without taking the interpreter apart: beside threads of a library that has been seen to hang for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all results have been handed over


def _work(job: Any) -> Any:
    assert _does is not None
    return _does(job)
