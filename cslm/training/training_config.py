"""How to train: what every learning verb has in its section ``training``."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.errors import UserError
from cslm.model.head_loss import LOSS_KERNELS

OPTIMIZERS = ("adamw", "muon", "sgd")
PRECISIONS = ("fp32", "bf16")
SCHEDULES = ("cosine", "linear", "constant")


@dataclass
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
    optimizer: str = "adamw"
    """adamw, muon (for matrices inside the layers, AdamW for the rest; needs zero_stage 0) or sgd (for comparisons)"""
    learning_rate: float = 3e-3
    """after the warm-up, where the schedule starts"""
    embedding_rate: float = 1.0
    """learning rate of embeddings and output head, as a multiple of that of everything else (3 suits new units)"""
    final_learning_rate: float = 0.0
    """where the schedule ends"""
    schedule: str = "cosine"
    """cosine, linear or constant, from learning_rate to final_learning_rate"""
    warmup_fraction: float = 0.0
    """share of the steps in which the rate rises linearly from 0"""
    warmup_steps: int | None = None
    """the same as a number of steps; wins over warmup_fraction"""
    weight_decay: float = 0.0
    """of matrices; vectors (norms, biases) never decay"""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and the second moment"""
    epsilon: float = 1e-8
    """AdamW's denominator offset"""
    gradient_clip: float = 1.0
    """largest norm of the whole gradient; 0 never clips"""
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
    seed: int = 0
    """decides the order of the data, new weights and dropout"""
    log_every: int = 10
    """steps between two lines of the log"""
    save_every: int = 500
    """steps between two checkpoints to resume from; the last step always writes one"""
    save_total: int = 2
    """checkpoints to resume from that are kept"""
    tokenize_texts_first: bool | None = None
    """tokenize whole texts once per machine, before training, into the user's cache folder, instead of whenever they
    are read; null does so beside an accelerator"""
    loader_workers: int | None = None
    """processes that make documents ahead, for each training process; null takes up to 4 beside an accelerator,
    as there are cores, else 0"""
    peak_tflops: float | None = None
    """what one device does at most, in 10^12 operations a second, for the share of it that is used (MFU); null: known
    for common GPUs in bf16, measured on a CPU"""
    wandb_project: str | None = None
    """Weights & Biases project that the log goes to as well, under the name of the output folder; null sends nothing"""
    num_threads: int | None = None
    """CPU threads of each process; null shares the cores among the processes of the machine"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("loss_kernel", self.loss_kernel, LOSS_KERNELS)
        _one_of("zero_stage", self.zero_stage, (0, 1, 2, 3))
        if self.optimizer == "muon" and (self.zero_stage != 0 or self.precision != "fp32"):
            raise UserError("training.optimizer muon needs whole matrices: set zero_stage 0 and precision fp32")
        if self.compile and self.gradient_checkpointing:
            raise UserError(
                "training.compile has no effect under training.gradient_checkpointing: set one of them false"
            )
        if self.compile and self.zero_stage == 3:
            raise UserError(
                "training.compile needs whole weights, and ZeRO stage 3 shards them: set zero_stage 0, 1 or 2"
            )
        if self.max_tokens is None and self.max_steps is None:
            raise UserError("training: give max_tokens or max_steps, or training would never end")
        for name in ("max_tokens", "max_steps", "tokens_per_step", "tokens_per_micro_batch", "max_length"):
            _at_least(name, getattr(self, name), 1)
        for name in ("log_every", "save_every", "save_total", "num_threads"):
            _at_least(name, getattr(self, name), 1)
        for name in ("learning_rate", "embedding_rate", "final_learning_rate", "warmup_fraction"):
            _at_least(name, getattr(self, name), 0)
        for name in ("gradient_clip", "weight_decay", "loader_workers"):
            _at_least(name, getattr(self, name), 0)
        if self.peak_tflops is not None and self.peak_tflops <= 0:
            raise UserError(f"training.peak_tflops is {self.peak_tflops}: it must be above 0")

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


def _at_least(name: str, value: float | None, minimum: int) -> None:
    if value is not None and not value >= minimum:
        raise UserError(f"training.{name} is {value}: it must be at least {minimum}")
