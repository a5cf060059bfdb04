"""How to train: what every learning verb has in its section ``training``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cslm.batches.turns import ALTERNATIONS
from cslm.errors import UserError
from cslm.model.head_loss import LOSS_KERNELS
from cslm.ranges import Range, check_numbers

OPTIMIZERS = ("adamw", "muon", "sgd")
PRECISIONS = ("fp32", "bf16")
SCHEDULES = ("cosine", "linear", "constant")
_COUNT = Range(least=1)
_MOST_SEED = 2**32 - 1


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, but for its learning rate."""

    name: str = "adamw"
    """adamw, muon (for matrices inside the layers, AdamW for the rest; needs zero_stage 0) or sgd (for comparisons)"""
    embedding_rate: float = 1.0
    """learning rate of embeddings and output head, as a multiple of that of everything else (3 suits new units)"""
    weight_decay: float = 0.0
    """of matrices; vectors (norms, biases) never decay"""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and the second moment"""
    epsilon: float = 1e-8
    """AdamW's denominator offset"""
    gradient_clip: float = 1.0
    """largest norm of the whole gradient; 0 never clips"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        _one_of("optimizer.name", self.name, OPTIMIZERS)
        none = Range(least=0)
        check_numbers(self, "training.optimizer", embedding_rate=none, gradient_clip=none, weight_decay=none)
        check_numbers(self, "training.optimizer", betas=Range(least=0, below=1), epsilon=Range(above=0))


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate on its way from the first step to the last."""

    shape: str = "cosine"
    """cosine, linear or constant, from learning_rate to final_learning_rate"""
    final_learning_rate: float = 0.0
    """where the schedule ends"""
    warmup_fraction: float = 0.0
    """share of the steps in which the rate rises linearly from 0, at most 1"""
    warmup_steps: int | None = None
    """the same as a number of steps; wins over warmup_fraction"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        _one_of("schedule.shape", self.shape, SCHEDULES)
        check_numbers(self, "training.schedule", final_learning_rate=Range(least=0), warmup_steps=Range(least=0))
        check_numbers(self, "training.schedule", warmup_fraction=Range(least=0, most=1))


@dataclass(frozen=True)
class CheckpointsConfig:
    """Checkpoints to resume from."""

    save_every: int = 500
    """steps between two of them; the last step always writes one"""
    save_total: int = 2
    """how many are kept"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "training.checkpoints", save_every=_COUNT, save_total=_COUNT)


@dataclass(frozen=True)
class DataConfig:
    """How documents become batches in time."""

    pack: bool = True
    """rows of as many documents as fit; false puts one document into each, for backbones that carry something along a
    row (state-space layers, convolutions): measured before the first step, and refused without this"""
    alternate: str | None = None
    """source or language: all documents of a step come from one source, or from the sources of one language, which take
    turns by their weights; null mixes them in every step"""
    accept_changed_data: bool = False
    """go on with a checkpoint though a source has other documents or utterances by now"""
    tokenize_texts_first: bool | None = None
    """tokenize whole texts once per machine, before training, into the user's cache folder, instead of whenever they
    are read; null does so beside an accelerator"""
    loader_workers: int | None = None
    """processes that make documents ahead, for each training process; null takes up to 4 beside an accelerator,
    as there are cores, else 0"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "training.data", loader_workers=Range(least=0))
        if self.alternate is not None:
            _one_of("data.alternate", self.alternate, ALTERNATIONS)


@dataclass(frozen=True)
class DeviceConfig:
    """How the model computes, and where its states lie: what hangs on the machine."""

    precision: str = "fp32"
    """fp32 or bf16 (weights and activations; the optimizer keeps float32)"""
    zero_stage: int = 2
    """DeepSpeed ZeRO: 0 nothing sharded, 1 optimizer states, 2 and gradients, 3 and weights"""
    deepspeed: str | None = None
    """JSON file with further DeepSpeed settings (offload, communication); what the loop decides itself wins"""
    gradient_checkpointing: bool = False
    """compute activations again in the backward pass: less memory, a third more work"""
    compile: bool = False
    """run the layers of a language model through torch.compile; not with gradient_checkpointing or zero_stage 3"""
    loss_kernel: str = "auto"
    """what computes losses and their gradients from logits: torch, liger (a Triton kernel; extra liger), or auto, which
    is Liger's on a GPU where it is installed"""
    num_threads: int | None = None
    """CPU threads of each process; null shares the cores among the processes of the machine"""
    peak_tflops: float | None = None
    """what one device does at most, in 10^12 operations a second, for the share of it that is used (MFU); null: known
    for common GPUs in bf16, measured on a CPU"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        _one_of("device.precision", self.precision, PRECISIONS)
        _one_of("device.loss_kernel", self.loss_kernel, LOSS_KERNELS)
        _one_of("device.zero_stage", self.zero_stage, (0, 1, 2, 3))
        check_numbers(self, "training.device", num_threads=_COUNT, peak_tflops=Range(above=0))
        if self.compile and self.gradient_checkpointing:
            raise UserError(
                "training.device.compile has no effect under training.device.gradient_checkpointing: "
                "set one of them false"
            )
        if self.compile and self.zero_stage == 3:
            raise UserError(
                "training.device.compile needs whole weights, and ZeRO stage 3 shards them: set zero_stage 0, 1 or 2"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """Length, batches, optimizer, precision, logs and checkpoints of one run."""

    max_tokens: int | None = None
    """length of the run and of its schedule, in tokens over all processes (frames for a decoder)"""
    max_steps: int | None = None
    """stop after this many steps; without max_tokens it is the length of the schedule too"""
    tokens_per_step: int = 2000
    """most tokens that one optimizer step sees, over all processes and micro-batches"""
    tokens_per_micro_batch: int = 4096
    """most tokens of one forward pass of one process: what memory allows"""
    max_length: int = 2048
    """longest document in tokens"""
    learning_rate: float = 3e-3
    """after the warm-up, where the schedule starts"""
    seed: int = 0
    """decides the order of the data, new weights and dropout"""
    log_every: int = 10
    """steps between two lines of the log"""
    wandb_project: str | None = None
    """Weights & Biases project that the log goes to as well, under the name of the output folder; null sends nothing"""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """the optimizer, but for its learning rate"""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """warm-up, and how the learning rate falls"""
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    """checkpoints to resume from"""
    data: DataConfig = field(default_factory=DataConfig)
    """how documents become batches in time"""
    device: DeviceConfig = field(default_factory=DeviceConfig)
    """precision, sharding, kernels, threads"""

    FORMER_NAMES: ClassVar[dict[str, str]] = {
        "optimizer": "optimizer.name",
        "schedule": "schedule.shape",
        **{
            name: f"{group}.{name}"
            for group, names in (
                ("optimizer", ("embedding_rate", "weight_decay", "betas", "epsilon", "gradient_clip")),
                ("schedule", ("final_learning_rate", "warmup_fraction", "warmup_steps")),
                ("checkpoints", ("save_every", "save_total")),
                ("data", ("tokenize_texts_first", "loader_workers")),
                ("device", ("precision", "zero_stage", "deepspeed", "gradient_checkpointing", "compile",
                            "loss_kernel", "num_threads", "peak_tflops")),
            )
            for name in names
        },
    }  # fmt: skip
    """what settings were called before they stood in groups: a run of then is resumed, a file or a flag is refused"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if self.optimizer.name == "muon" and (self.device.zero_stage != 0 or self.device.precision != "fp32"):
            raise UserError("training.optimizer.name muon needs whole matrices: set zero_stage 0 and precision fp32")
        if self.max_tokens is None and self.max_steps is None:
            raise UserError("training: give max_tokens or max_steps, or training would never end")
        positive = ("max_tokens", "max_steps", "tokens_per_step", "tokens_per_micro_batch", "max_length", "log_every")
        check_numbers(self, "training", **dict.fromkeys(positive, _COUNT))
        check_numbers(self, "training", learning_rate=Range(least=0), seed=Range(least=0, most=_MOST_SEED))
        warmup = self.schedule.warmup_steps
        if warmup is not None and warmup > self.schedule_steps:
            raise UserError(
                f"training.schedule.warmup_steps is {warmup}, and the schedule has {self.schedule_steps} steps: "
                "it must be at most as many"
            )

    @property
    def schedule_steps(self) -> int:
        """Steps that the schedule spans."""
        if self.max_tokens is not None:
            return max(1, round(self.max_tokens / self.tokens_per_step))
        assert self.max_steps is not None
        return self.max_steps

    @property
    def schedule_tokens(self) -> int:
        """Tokens that the schedule spans, were every step full."""
        return self.schedule_steps * self.tokens_per_step

    @property
    def last_step(self) -> int:
        """The step after which the run stops."""
        return min(self.schedule_steps, self.max_steps or self.schedule_steps)


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise UserError(f"training.{name} is {value!r}: choose one of {', '.join(map(str, choices))}")
