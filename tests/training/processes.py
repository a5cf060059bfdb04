"""Start a script in several processes, as a launcher would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def clean_environment() -> dict[str, str]:
    """The environment without the ranks that a run in this process has set."""
    kept = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(world_size: int, *command: str) -> list[subprocess.Popen]:
    """One process for each rank; with one, no rank is set."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    processes = []
    for rank in range(world_size):
        environment = clean_environment()
        if world_size > 1:
            values = (str(rank), str(rank), str(world_size), str(world_size), "127.0.0.1", port)
            environment |= dict(zip(RANK_VARIABLES, values, strict=True))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, text=True, **pipes))
    return processes


def finish(processes: list[subprocess.Popen], status: int = 0) -> str:
    """Wait for all, expect their exit status, and return what the first printed on both streams."""
    try:
        printed = [process.communicate(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == status, errors
    return "".join(printed[0])
