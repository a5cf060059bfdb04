"""The DeepSpeed engine: processes, configuration, one optimizer step, full weights."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from cslm.batches.micro_batch import StepBatch
from cslm.errors import UserError
from cslm.files.shipped_files import find_shipped
from cslm.model.objective import Objective
from cslm.model.quiet_deepspeed import tell_deepspeed_of_cpu
from cslm.training.muon import Muon, inner_matrices, outer_matrices
from cslm.training.row_training import RowTraining
from cslm.training.training_config import DeviceConfig, TrainingConfig

if not torch.cuda.is_available():
    tell_deepspeed_of_cpu()

import deepspeed
import deepspeed.ops
from deepspeed.accelerator import get_accelerator
from deepspeed.utils import logger as deepspeed_logger

_OF_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_TIMEOUT = timedelta(minutes=60)
_PATIENCE = timedelta(days=7)


def start_processes(num_threads: int | None = None) -> tuple[int, int]:
    """Join the processes that a launcher started, or be the only one; returns (rank, world_size).

    Raises:
        UserError: some of a launcher's variables are set, and others are not.
    """
    _check_launcher()
    deepspeed_logger.setLevel("ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    if not deepspeed.comm.is_initialized():
        _skip_shared_memory_kernel()
        backend = get_accelerator().communication_backend_name()
        try:
            deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False, timeout=_TIMEOUT)
        except torch.distributed.DistNetworkError as error:
            raise _taken_port(error) from error
    if runs_on_cpu():
        torch.set_num_threads(num_threads or share_of_cores())
    else:
        get_accelerator().set_device(int(os.environ["LOCAL_RANK"]))
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _taken_port(error: torch.distributed.DistNetworkError) -> Exception:
    """What to say where the port at which processes meet is another program's; ``error`` itself where it is not."""
    place = f"port {os.environ.get('MASTER_PORT')}, at which the processes of a run meet,"
    said = f"{place} is taken, by another run perhaps: give another one, deepspeed --master_port PORT"
    return UserError(said) if "EADDRINUSE" in str(error) else error


def _check_launcher() -> None:
    """Make sure that the environment tells all of this process and its fellows, or nothing."""
    told = {name: os.environ[name] for name in _OF_LAUNCHER if name in os.environ}
    missing = [name for name in _OF_LAUNCHER if name not in told]
    alone = "RANK" not in told and told.get("WORLD_SIZE", "1") == "1" and told.get("LOCAL_RANK", "0") == "0"
    if missing and not alone:
        found = ", ".join(f"{name}={value}" for name, value in told.items())
        raise UserError(
            f"the environment has {found} and lacks {', '.join(missing)}: start several processes with torchrun or "
            f"deepspeed, which set them all, or unset {', '.join(told)} to train with one"
        )
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        if not told.get(name, "0").isdecimal():
            raise UserError(f"{name} is {told[name]!r} in the environment: it must be a whole number")


def stack_versions() -> dict[str, str]:
    """The versions of what decides a result: this package and the libraries it trains with."""
    return {
        "cslm": _own_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "deepspeed": deepspeed.__version__,
    }


def _own_version() -> str:
    try:
        return version("cslm")  # not by importing cslm: recipes/paper may stand before it
    except PackageNotFoundError:
        return "not installed"


def runs_on_cpu() -> bool:
    """Whether the engine has no accelerator."""
    return bool(get_accelerator().device_name() == "cpu")


def wait_for_all() -> None:
    """Return when every process has called this."""
    if torch.distributed.get_world_size() > 1:
        torch.distributed.barrier()


def gathered(value: Any) -> list[Any]:
    """What every process gives, by rank; all of them call this together."""
    values = [value] * torch.distributed.get_world_size()
    if len(values) > 1:
        torch.distributed.all_gather_object(values, value)
    return values


@contextlib.contextmanager
def preparation() -> Iterator[None]:
    """What may take hours on one machine and not on another: a process that is done waits for those that are not.

    It waits in a group of its own, on the CPU: the collective operations of training would have timed out.
    """
    if torch.distributed.get_world_size() == 1:
        yield
        return
    group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
    yield
    torch.distributed.barrier(group)
    torch.distributed.destroy_process_group(group)


def start_engine(
    module: nn.Module, config: TrainingConfig, load_universal: bool = False, row_training: RowTraining | None = None
) -> Any:
    """The DeepSpeed engine around ``module``, whose forward takes a micro-batch and returns an :class:`Objective`.

    Args:
        load_universal: the state to load comes from another number of processes.
        row_training: the rows of embedding and head that learn apart; None where all parameters learn alike.

    Raises:
        UserError: ``training.device.deepspeed`` is no JSON file, or names another ZeRO stage.
    """
    exact = {name: buffer.clone() for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    optimizer = _optimizer(module, config, row_training)
    num_parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    settings = _settings(config, num_parameters, load_universal)
    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=settings)
    for name, buffer in engine.module.named_buffers():
        if name in exact and buffer.dtype != exact[name].dtype:  # rotary frequencies lose positions in bf16
            buffer.data = exact[name].to(buffer.device)
    if row_training is not None:
        row_training.attach(engine.module)
    return engine


def set_learning_rate(engine: Any, rate: float, row_training: RowTraining | None = None) -> None:
    """Set the rate of all parameters for the next step; embeddings have their multiple of it."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate * group.get("rate", 1.0)
        if row_training is not None:
            row_training.restrict(group)


def accumulate_gradients(engine: Any, batch: StepBatch) -> list[Objective]:
    """Forward and backward over one step's micro-batches of this process; returns their objectives without graphs.

    The gradient is that of the objective: each term's sum is divided once by its count over all processes and
    micro-batches, and counts with its weight. DeepSpeed averages over processes, which the factor ``world_size``
    undoes; it is told not to divide by accumulation steps. A term that is a mean over what nothing counts is refused.
    """
    counts = count_over_all(batch, engine.device)
    scales = {name: engine.dp_world_size / max(1, count) for name, count in counts.items()}
    objectives = []
    for index, micro_batch in enumerate(batch.micro_batches):
        engine.set_gradient_accumulation_boundary(index == len(batch.micro_batches) - 1)
        objective: Objective = engine(micro_batch.to(engine.device))
        objective.check_counted(scales)
        parts = [term.sum * term.weight * scales[term.per] for term in objective.terms.values()]
        engine.backward(functools.reduce(torch.add, parts), scale_wrt_gas=False)
        objectives.append(objective.detached())
    return objectives


def count_over_all(batch: StepBatch, device: torch.device) -> Mapping[str, float]:
    """The counts of all micro-batches of a step over all processes, which call this together.

    Nothing is sent where the stream knows them.
    """
    if batch.counts is not None:
        return batch.counts
    own = [micro_batch.counts() for micro_batch in batch.micro_batches]
    names = sorted(own[0])
    counts = torch.tensor([sum(each[name] for each in own) for name in names], dtype=torch.float64, device=device)
    if torch.distributed.get_world_size() > 1:
        torch.distributed.all_reduce(counts)
    return dict(zip(names, counts.tolist(), strict=True))


def update_weights(engine: Any, clip: float) -> float | Tensor:
    """Clip, step the optimizer and drop the gradients; returns the norm of the gradient before clipping."""
    norm: float | Tensor | None = None
    if not engine.zero_optimization() and not engine.bfloat16_enabled():
        parameters = [p for p in engine.module.parameters() if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip if clip > 0 else float("inf"))
    engine.step()
    if norm is None:
        norm = engine.get_global_grad_norm()
    return 0.0 if norm is None else norm


def forget_moments(engine: Any) -> None:
    """Set the states of the optimizer to zero, where they were before the first step; weights and rates stay.

    In place: these tensors are what ZeRO shards, offloads and saves.
    """
    optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


def full_weights(engine: Any) -> dict[str, Tensor]:
    """The whole state of the module on the CPU of rank 0 (elsewhere empty); all processes call it together.

    Of a module that has frozen parts, and a method ``saves(name)``, those for which it says so.
    """
    keep = torch.distributed.get_rank() == 0
    weights = {}
    copies: dict[int, Tensor] = {}  # a head that shares the embedding's weight is copied, and saved, once
    saves = getattr(engine.module, "saves", None)
    for name, value in engine.module.state_dict(keep_vars=True).items():
        if saves is not None and not saves(name):
            continue
        with deepspeed.zero.GatheredParameters([value], enabled=hasattr(value, "ds_id")):
            if keep:
                if id(value) not in copies:
                    copies[id(value)] = value.detach().cpu().clone()
                weights[name] = copies[id(value)]
    return weights


def _optimizer(module: nn.Module, config: TrainingConfig, row_training: RowTraining | None) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    asked = config.optimizer
    is_muon, decays = asked.name == "muon", asked.weight_decay > 0
    inner = inner_matrices(module) if is_muon else []
    outer = outer_matrices(module) if asked.embedding_rate != 1 else []
    by_rows = [] if row_training is None else row_training.weights
    outer = [p for p in outer if not any(p is weight for weight in by_rows)]
    apart = {id(p) for p in (*inner, *outer, *by_rows)}
    rest = [p for p in parameters if id(p) not in apart]
    groups: list[dict[str, Any]] = [
        {"params": inner, "muon": True},
        {"params": outer, "rate": asked.embedding_rate, "lr": config.learning_rate * asked.embedding_rate},
        {"params": by_rows, "rate": asked.embedding_rate, "decay_of_rows": asked.weight_decay},
        {"params": [p for p in rest if p.dim() >= 2 or not decays]},
        {"params": [p for p in rest if p.dim() < 2 and decays], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if asked.name == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, weight_decay=asked.weight_decay)
    return (Muon if is_muon else torch.optim.AdamW)(
        groups,
        lr=config.learning_rate,
        betas=asked.betas,
        eps=asked.epsilon,
        weight_decay=asked.weight_decay,
        fused=True,
    )


def _settings(config: TrainingConfig, num_parameters: int, load_universal: bool) -> dict[str, Any]:
    """DeepSpeed's configuration."""
    settings = deepspeed_settings(config.device)
    bucket = min(500_000_000, max(num_parameters + num_parameters % 2, 2))  # DeepSpeed wants an even one
    zero = {"reduce_bucket_size": bucket, "allgather_bucket_size": bucket, "overlap_comm": False}
    if config.device.zero_stage == 3:
        zero |= {"stage3_prefetch_bucket_size": bucket, "stage3_max_live_parameters": 1_000_000_000}
    zero |= settings.get("zero_optimization", {})
    own = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0 if _clips_itself(config) else config.optimizer.gradient_clip,
        "zero_optimization": {**zero, "stage": config.device.zero_stage},
        "bf16": {"enabled": config.device.precision == "bf16"},
        "checkpoint": {"load_universal": load_universal},
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # offloaded states are stepped by torch's AdamW: nothing to compile
    }
    return {**settings, **own}


def deepspeed_settings(config: DeviceConfig) -> dict[str, Any]:
    """What the JSON file of ``training.device.deepspeed`` holds; nothing where there is none.

    Raises:
        UserError: it is no JSON file, or names another ZeRO stage.
    """
    if config.deepspeed is None:
        return {}
    path = find_shipped(config.deepspeed) if not Path(config.deepspeed).is_file() else Path(config.deepspeed)
    try:
        settings = json.loads((path or Path(config.deepspeed)).read_text(encoding="utf-8"))
        stage = settings.get("zero_optimization", {}).get("stage", config.zero_stage)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"training.device.deepspeed: {config.deepspeed} is no readable JSON file ({error})") from None
    if stage != config.zero_stage:
        raise UserError(
            f"training.device.deepspeed: {config.deepspeed} has ZeRO stage {stage}, but training.device.zero_stage is "
            f"{config.zero_stage}: give both the same"
        )
    return dict(settings)


def _clips_itself(config: TrainingConfig) -> bool:
    """Without ZeRO in fp32 DeepSpeed clips without telling the norm: the loop does it."""
    return config.device.zero_stage == 0 and config.device.precision == "fp32"


def share_of_cores() -> int:
    """Cores of this machine for each of its processes of this run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1))


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def _skip_shared_memory_kernel() -> None:
    """Keep DeepSpeed from compiling, for a minute, a kernel that serves only its inference on CPUs."""
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
