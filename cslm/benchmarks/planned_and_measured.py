"""What ``plan`` says beside what runs on CPUs take: peak memory of a process, and the checkpoint on disk.

Every run is a process (or two) of its own. Its memory is the peak resident set until the last step, before anything is
saved, less that of the same run with a model of almost nothing.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from cslm.benchmarks.measured_run import MeasuredShape
from cslm.benchmarks.process_environment import RANK_VARIABLES, without_ranks
from cslm.model.backbone import model_of_shape
from cslm.model.document_attention import DOCUMENT_ATTENTION
from cslm.planning.activation_memory import activation_memory
from cslm.planning.planned_memory import ModelSize, checkpoint_bytes, stage_memory

_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
"""the C library gives back at once what is freed, as otherwise it would be counted as used"""


def planned_and_measured(shape: MeasuredShape, stages: Sequence[int], processes: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each stage and number of processes: bytes of memory and of the checkpoint, planned and measured."""
    rows = []
    for number in processes:
        base, _ = measured(replace(shape, hidden_size=32, num_layers=1, vocab_size=64, document=8), 0, number)
        for stage in stages:
            memory, disk = measured(shape, stage, number)
            row = {"stage": stage, "processes": number, "base": base, "measured_memory": memory - base}
            row |= {"measured_checkpoint": disk, **planned(shape, stage, number)}
            rows.append(row)
            print(_line(row), file=sys.stderr, flush=True)
    return rows


def planned(shape: MeasuredShape, stage: int, processes: int) -> dict[str, Any]:
    """What the plan says about a measured run."""
    config = shape.training(stage)
    with torch.device("meta"):
        model = model_of_shape(shape.config(), DOCUMENT_ATTENTION, torch.float32)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    micro = activation_memory(
        shape.config(), DOCUMENT_ATTENTION, config.device.precision, shape.lengths, shape.num_targets,
        config.device.gradient_checkpointing, on_cpu=stage < 3,
    )  # fmt: skip
    assert micro is not None, "a Llama runs without contents"
    size = ModelSize(num_parameters)
    memory = stage_memory(stage, size, config, processes, micro)
    parts = {f"planned_{name}": value for name, value in vars(memory).items() if name != "stage"}
    disk = checkpoint_bytes(stage, size, config)
    return {"parameters": num_parameters, **parts, "planned_memory": memory.peak, "planned_checkpoint": disk}


def measured(shape: MeasuredShape, stage: int, processes: int) -> tuple[int, int]:
    """Peak resident bytes of the process that took most, and bytes of the checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        asked = json.dumps({"stage": stage, "folder": folder, "shape": asdict(shape)})
        command = [sys.executable, "-m", "cslm.benchmarks.measured_run", asked]
        started = [
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for environment in _environments(processes)
        ]
        errors = [process.communicate()[1] for process in started]
        for process, error in zip(started, errors, strict=True):
            if process.returncode:
                raise RuntimeError(f"ZeRO {stage} stopped with status {process.returncode}: {error[-3000:]}")
        last = json.loads((Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        files = (Path(folder) / "checkpoints").rglob("*")
        return round(last["peak_memory_gib"] * 2**30), sum(file.stat().st_size for file in files if file.is_file())


def _environments(processes: int) -> list[dict[str, str]]:
    """As a launcher would set them; one process alone gets none."""
    plain = {**without_ranks(), **_MALLOC, "OMP_NUM_THREADS": "1"}
    if processes == 1:
        return [plain]
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    size = str(processes)
    return [
        plain | dict(zip(RANK_VARIABLES, (str(rank), str(rank), size, size, "127.0.0.1", port), strict=True))
        for rank in range(processes)
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A table in Markdown, in MiB."""
    lines = [
        "| ZeRO | processes | memory planned | measured | | checkpoint planned | measured | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row["stage"]), str(row["processes"])]
        for name in ("memory", "checkpoint"):
            there, found = row[f"planned_{name}"], row[f"measured_{name}"]
            cells += [f"{there / 2**20:,.0f}", f"{found / 2**20:,.0f}", f"{there / found - 1:+.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    return table([row]).splitlines()[-1]
