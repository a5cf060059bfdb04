"""How well the loop uses a device: MFU of a model of some size, and where the rest of the time goes.

Steps are those of every run, on the DeepSpeed engine, of packed rows whose documents have the lengths of the paper's
mixture (CSLM table 3). Some are timed as the log of a run times them; a profile of some more says what the device did.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, PreTrainedModel

from cslm.benchmarks.compared_systems import drawn_stream
from cslm.benchmarks.paper_mixture import drawn_lengths
from cslm.errors import UserError
from cslm.model.activation_checkpointing import checkpoint_activations
from cslm.model.backbone import model_of_shape
from cslm.model.compiled_layers import compile_layers
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.document_attention import DOCUMENT_ATTENTION
from cslm.model.loss import LanguageModelLoss
from cslm.training.engine import runs_on_cpu, start_engine, start_processes
from cslm.training.state import TrainingState
from cslm.training.steps import Steps
from cslm.training.training_config import DeviceConfig, TrainingConfig

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
IDLE = "idle"
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
    warm_steps: int = 5
    steps: int = 5
    repeats: int = 5
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
            max_steps=1,
            learning_rate=1e-5,
            device=DeviceConfig(
                zero_stage=self.zero_stage,
                precision=self.precision,
                loss_kernel=self.loss_kernel,
                gradient_checkpointing=bool(self.checkpointing),
                peak_tflops=self.peak_tflops or None,
            ),
        )


class ProfilePart(NamedTuple):
    """What one kind of work took."""

    kind: str
    seconds: float
    share: float


def model_speed(trial: SpeedTrial) -> dict[str, Any]:
    """``mfu``, ``tokens_per_sec``, ``peak_memory_gib`` (medians of ``rows``), the ``profile`` and its ``operations``.

    Nothing is written. All processes of a launcher call this together and get the same, but for the profile, which is
    that of their own device.

    Raises:
        UserError: a device whose peak is not known, without ``peak_tflops``.
    """
    rank, world_size = start_processes()
    config, model = trial.training(), _model(trial)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    stream = drawn_stream(_Drawn(trial.vocab_size), trial.row * trial.rows_per_step * world_size, trial.row)
    engine = start_engine(LanguageModelLoss(model, len(stream.groups), trial.loss_kernel), config)
    run = _TimedSteps(Steps(engine, stream, config), config.learning_rate)
    if run.make(trial.warm_steps)["mfu"] is None:
        raise UserError("the peak of this device is not known: give --peak_tflops, what it does at most")
    rows = [run.make(trial.steps) for _ in range(trial.repeats)]
    profiled = _profile(run, trial.profiled_steps)
    engine.destroy()
    device = "cpu" if runs_on_cpu() else torch.cuda.get_device_name()
    found = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    facts = {"rank": rank, "device": device, "processes": world_size, "parameters": num_parameters}
    return {**facts, **found, **profiled, "rows": rows}


def _model(trial: SpeedTrial) -> PreTrainedModel:
    torch.manual_seed(0)
    dtype = torch.bfloat16 if trial.precision == "bf16" else torch.float32
    model = model_of_shape(_llama(trial), DOCUMENT_ATTENTION, dtype)
    if trial.compile:
        compile_layers(model)
    elif runs_on_cpu() and trial.zero_stage < 3:
        use_cpu_layers(model)
    if trial.checkpointing:
        checkpoint_activations(model)
    return model


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


class _TimedSteps:
    """The steps of a run, one after the other, and what they took."""

    def __init__(self, steps: Steps, learning_rate: float) -> None:
        self._steps, self._learning_rate, self._state = steps, learning_rate, TrainingState()

    def make(self, count: int) -> dict[str, Any]:
        """Make so many steps, as the loop makes them between two lines of its log."""
        before, started = self._state.tokens, time.perf_counter()
        for _ in range(count):
            self._state, norm = self._steps.take(self._state, self._learning_rate)
        self._steps.losses.result()
        check = float(norm)  # waits for the device
        seconds, tokens, work = time.perf_counter() - started, self._state.tokens - before, self._steps.work.result()
        assert math.isfinite(check), "random weights do not diverge in some steps"
        return {"mfu": work.mfu(seconds), "tokens_per_sec": tokens / seconds, "seconds": seconds,
                "peak_memory_gib": work.peak_memory / 2**30}  # fmt: skip


def _profile(run: _TimedSteps, steps: int) -> dict[str, Any]:
    """``profile``: seconds and share of every kind of work; ``operations``: what took most."""
    kinds = [ProfilerActivity.CPU, *([] if runs_on_cpu() else [ProfilerActivity.CUDA])]
    with profile(activities=kinds) as profiler:
        whole = run.make(steps)["seconds"]
    events = profiler.key_averages()
    if runs_on_cpu():
        took = [(event.key, event.self_cpu_time_total / 1e6) for event in events]
    else:  # kernels alone: operations and ranges have the time of their kernels once more
        kernels = [it for it in events if it.device_type.name == "CUDA" and not it.is_user_annotation]
        took = [(kernel.key, kernel.self_device_time_total / 1e6) for kernel in kernels]
        took.append((IDLE, max(0.0, whole - sum(seconds for _, seconds in took))))
    most = sorted(took, key=lambda one: -one[1])[:_MOST_OPERATIONS]
    parts = [part._asdict() for part in by_kind(took)]
    return {"profile": parts, "operations": [[key[:120], seconds] for key, seconds in most]}


def by_kind(took: Iterable[tuple[str, float]]) -> list[ProfilePart]:
    """Seconds of operations by the kind of their names, longest first."""
    seconds = dict.fromkeys((*KINDS, OTHER, IDLE), 0.0)
    for name, spent in took:
        seconds[kind_of(name)] += spent
    total = sum(seconds.values()) or 1.0
    longest = sorted(seconds.items(), key=lambda one: -one[1])
    return [ProfilePart(kind, spent, spent / total) for kind, spent in longest if spent > 0]


def kind_of(name: str) -> str:
    """The kind of an operation or a kernel."""
    if name == IDLE:
        return IDLE
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
