"""Start a script in several processes, as a launcher would."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NUMBERS = itertools.count()
_PATIENCE, _AFTER_A_FAILURE = 900, 60
"""seconds"""


def clean_environment() -> dict[str, str]:
    """The environment without the ranks that a run in this process has set."""
    kept = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    """A port from 20,000 to 32,499, below those that the system gives to whoever asks; each test worker has its own.

    One that the system gave could be another's before the run that it was asked for binds it.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 25
    while True:
        port = 20_000 + 500 * worker + next(_NUMBERS) % 500
        with socket.socket() as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                opened.bind(("", port))
            except OSError:
                continue
        return port


def start(world_size: int, *command: str) -> list[subprocess.Popen]:
    """One process for each rank; with one, no rank is set."""
    port = str(free_port())
    processes = []
    for rank in range(world_size):
        environment = clean_environment()
        if world_size > 1:
            values = (str(rank), str(rank), str(world_size), str(world_size), "127.0.0.1", port)
            environment |= dict(zip(RANK_VARIABLES, values, strict=True))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, text=True, **pipes))
    return processes


def finish(processes: list[subprocess.Popen], status: int = 0, patience: float = _PATIENCE) -> str:
    """Wait for all, expect their exit status, and return what the first printed on both streams.

    All are read at once: one whose pipe is full waits, and its fellows with it. Where one has failed the others have a
    minute more, for they may wait for it: what it said is told, not that they waited.
    """
    printed = [("", "") for _ in processes]

    def read(rank: int) -> None:
        printed[rank] = processes[rank].communicate()

    readers = [threading.Thread(target=read, args=(rank,), daemon=True) for rank in range(len(processes))]
    for reader in readers:
        reader.start()
    end = time.monotonic() + patience
    failed: list[int] = []
    while any(reader.is_alive() for reader in readers) and time.monotonic() < end:
        time.sleep(0.05)
        if not failed:
            failed = [rank for rank, process in enumerate(processes) if process.poll() not in (None, status)]
            end = min(end, time.monotonic() + _AFTER_A_FAILURE) if failed else end
    waiting = [rank for rank, process in enumerate(processes) if process.poll() is None]
    for process in processes:
        process.kill()
    for reader in readers:
        reader.join(timeout=10)  # a process that it left behind may hold the pipe
    for rank in failed or waiting:
        assert rank not in waiting, f"rank {rank} did not end within {patience} s; it said\n" + "".join(printed[rank])
        assert processes[rank].returncode == status, f"rank {rank} said\n" + "".join(printed[rank])
    assert all(process.returncode == status for process in processes), printed
    return "".join(printed[0])
