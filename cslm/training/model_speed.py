"""How well the loop uses a device: MFU of a model of some size, and where the rest of the time goes.

The loop is that of every run, on the DeepSpeed engine, with packed rows whose documents have the lengths of the paper's
mixture (CSLM table 3). Its own log gives the speed; a profile of some later steps says what the device did meanwhile.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig

from cslm.batches.stream import BatchStream, StepBatch
from cslm.errors import UserError
from cslm.model.backbone import model_of_shape
from cslm.model.compiled_layers import compile_layers
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.document_attention import DOCUMENT_ATTENTION
from cslm.model.loss import LanguageModelLoss
from cslm.training.compared_speed import drawn_lengths
from cslm.training.compared_systems import drawn_stream
from cslm.training.engine import runs_on_cpu, start_processes
from cslm.training.loop import train
from cslm.training.training_config import TrainingConfig

# A kernel or operation belongs to the first kind of which a part stands in its name.
KINDS = {
    "communication": ("nccl", "gloo", "all_reduce", "allgather", "reduce_scatter", "c10d"),
    "attention": ("flash", "fmha", "attention", "attn"),
    "optimizer": ("adam", "multi_tensor", "foreach"),
    "loss": ("liger", "cross_entropy", "softmax", "log_softmax"),
    "matrix products": ("gemm", "cutlass", "nvjet", "xmma", "cublas", "aten::mm", "aten::addmm", "aten::bmm", "matmul"),
    "copies": ("memcpy", "memset", "copy", "aten::cat", "index", "fill"),
}
OTHER = "elementwise and other"
_MOST_OPERATIONS = 15
_DRAWN = 1 << 14  # documents


@dataclass(frozen=True)
class SpeedTrial:
    """A model and how it is trained: by default Llama 3.2 of a billion parameters, with the paper's vocabulary."""

    hidden_size: int = 2048
    intermediate_size: int = 8192
    num_layers: int = 16
    num_heads: int = 32
    num_key_value_heads: int = 8
    vocab_size: int = 132_416
    tied: int = 1
    row: int = 4096
    rows_per_step: int = 4
    steps: int = 20
    warm_steps: int = 5
    profiled_steps: int = 2
    precision: str = "bf16"
    zero_stage: int = 1
    checkpointing: int = 0
    compile: int = 0
    loss_kernel: str = "auto"
    peak_tflops: float = 0.0

    def training(self) -> TrainingConfig:
        """The settings of the loop."""
        return TrainingConfig(
            max_steps=self.warm_steps + self.steps + self.profiled_steps, zero_stage=self.zero_stage,
            precision=self.precision, log_every=1, save_every=1_000_000, loss_kernel=self.loss_kernel,
            gradient_checkpointing=bool(self.checkpointing), peak_tflops=self.peak_tflops or None,
        )  # fmt: skip


class ProfilePart(NamedTuple):
    """What one kind of work took."""

    kind: str
    seconds: float
    share: float


def model_speed(trial: SpeedTrial, folder: Path) -> dict[str, Any]:
    """``mfu``, ``tokens_per_sec``, ``peak_memory_gib`` (medians of the counted steps), their ``rows``, the ``profile``.

    All processes of a launcher call this together; what they get is that of rank 0, elsewhere nothing.

    Raises:
        UserError: a device whose peak is not known, without ``peak_tflops``.
    """
    rank, world_size = start_processes()
    torch.manual_seed(0)
    config = trial.training()
    dtype = torch.bfloat16 if trial.precision == "bf16" else torch.float32
    model = model_of_shape(_llama(trial), DOCUMENT_ATTENTION, dtype)
    if trial.compile:
        compile_layers(model)
    elif runs_on_cpu() and trial.zero_stage < 3:
        use_cpu_layers(model)
    if trial.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens_per_step = trial.row * trial.rows_per_step * world_size
    drawn = drawn_stream(_Drawn(trial.vocab_size), tokens_per_step, trial.row)
    stream = _Profiled(drawn, trial.warm_steps + trial.steps)
    module = LanguageModelLoss(model, len(stream.groups), trial.loss_kernel)
    train(module, stream, config, folder, lambda weights, written_to: None)
    if rank != 0:
        return {}
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines][trial.warm_steps : trial.warm_steps + trial.steps]
    if any(row["mfu"] is None for row in rows):
        raise UserError("the peak of this device is not known: give --peak_tflops, what it does at most")
    device = "cpu" if runs_on_cpu() else torch.cuda.get_device_name()
    names = ("mfu", "tokens_per_sec", "peak_memory_gib")
    found = {name: statistics.median(row[name] for row in rows) for name in names}
    return {"device": device, "processes": world_size, "parameters": num_parameters, **found, **stream.profiled(),
            "rows": [{name: row[name] for name in ("step", *names)} for row in rows]}  # fmt: skip


def _llama(trial: SpeedTrial) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=trial.vocab_size, hidden_size=trial.hidden_size, intermediate_size=trial.intermediate_size,
        num_hidden_layers=trial.num_layers, num_attention_heads=trial.num_heads,
        num_key_value_heads=trial.num_key_value_heads, max_position_embeddings=2 * trial.row,
        tie_word_embeddings=bool(trial.tied),
    )  # fmt: skip


class _Drawn:
    """Documents with lengths of the paper's mixture, and random ids."""

    def __init__(self, vocab_size: int) -> None:
        self.lengths, self.learnt = drawn_lengths(_DRAWN)
        self._vocab_size = vocab_size

    def ids(self, index: int) -> NDArray[np.int64]:
        return np.random.default_rng(index).integers(self._vocab_size, size=int(self.lengths[index]))


class _Profiled:
    """A stream, and a profiler over the last steps that it makes."""

    def __init__(self, stream: BatchStream, first_step: int) -> None:
        self._stream, self._left = stream, first_step
        self.groups = stream.groups
        self._profiler: profile | None = None

    def step(self, position: Mapping[str, Any], rank: int, world_size: int) -> StepBatch:
        if self._left == 0 and rank == 0:
            kinds = [ProfilerActivity.CPU, *([] if runs_on_cpu() else [ProfilerActivity.CUDA])]
            self._profiler = profile(activities=kinds)
            self._profiler.start()
        self._left -= 1
        return self._stream.step(position, rank, world_size)

    def profiled(self) -> dict[str, Any]:
        """``profile``: seconds and share of every kind of work; ``operations``: what took most."""
        if self._profiler is None:
            return {"profile": [], "operations": []}
        self._profiler.stop()
        name = "self_cpu_time_total" if runs_on_cpu() else "self_device_time_total"
        took = [(event.key, getattr(event, name) / 1e6) for event in self._profiler.key_averages()]
        if not runs_on_cpu():  # kernels alone: the operations that launch them have the same time once more
            took = [(key, seconds) for key, seconds in took if not key.startswith(("aten::", "autograd::", "Command"))]
        most = sorted(took, key=lambda one: -one[1])[:_MOST_OPERATIONS]
        parts = [part._asdict() for part in by_kind(took)]
        return {"profile": parts, "operations": [[key[:120], seconds] for key, seconds in most]}


def by_kind(took: Iterable[tuple[str, float]]) -> list[ProfilePart]:
    """Seconds of operations by the kind of their names, longest first."""
    seconds = dict.fromkeys((*KINDS, OTHER), 0.0)
    for name, spent in took:
        seconds[kind_of(name)] += spent
    total = sum(seconds.values()) or 1.0
    longest = sorted(seconds.items(), key=lambda one: -one[1])
    return [ProfilePart(kind, spent, spent / total) for kind, spent in longest if spent > 0]


def kind_of(name: str) -> str:
    """The kind of an operation or a kernel."""
    lower = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in lower for part in parts)), OTHER)


def profile_table(found: Mapping[str, Any]) -> str:
    """The figures, and the profile as a table in Markdown."""
    lines = [
        f"{found['device']} x {found['processes']}: {found['parameters']:,} parameters, MFU {found['mfu']:.1%}, "
        f"{found['tokens_per_sec']:,.0f} tokens a second, {found['peak_memory_gib']:.1f} GiB",
        "",
        "| kind | seconds | share |",
        "|---|---|---|",
        *(f"| {part['kind']} | {part['seconds']:.3f} | {part['share']:.1%} |" for part in found["profile"]),
    ]
    return "\n".join(lines)
