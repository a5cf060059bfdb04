"""``lr-find``: a learning rate that rises at every step, to see where learning is fast and where it breaks.

The learning rate range test (Smith 2015, arXiv 1506.01186, section 3.3), with two differences: the rate rises
exponentially, as many rates are tried in each power of ten, and the training loss is watched in place of accuracy.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cslm.configuration import parse_configuration
from cslm.errors import MissingExtraError, UserError
from cslm.files.atomic_file import write_atomically
from cslm.model.loss import LanguageModelLoss
from cslm.planning.prompt_runs import is_prompt_run
from cslm.training.engine import preparation, start_engine, start_processes, wait_for_all
from cslm.training.language_model import build_run_model, check_base, row_training
from cslm.training.language_model_config import FinetuneConfig, RunPaths
from cslm.training.prompt_config import TrainPromptConfig
from cslm.training.run_data import open_data
from cslm.training.state import TrainingState
from cslm.training.steps import Steps
from cslm.training.train_prompt import open_prompt_data, open_run_parts, prompt_objective

_DIVERGED = 4.0
_WINDOWS = 6
_ROSE = 1.05  # a loss that ends this much above its lowest has turned


@dataclass(kw_only=True)
class RatesConfig:
    """Which learning rates are tried, and what is written of them."""

    lr_min: float = 1e-6
    """rate of the first step"""
    lr_max: float = 1.0
    """rate of the last step"""
    num_steps: int = 100
    """steps from the lowest to the highest rate"""
    smoothing: float = 0.8
    """share of the smoothed loss that is kept at each step, from 0 to below 1"""
    json: str | None = None
    """write rates, losses and what was found into this file"""
    chart: str | None = None
    """draw the curve into this file (.png, .svg, ...)"""

    def check_rates(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if not 0 < self.lr_min < self.lr_max < math.inf:
            raise UserError(f"lr_min is {self.lr_min} and lr_max {self.lr_max}: give 0 < lr_min < lr_max")
        if self.num_steps < 5:
            raise UserError(f"num_steps is {self.num_steps}: give 5 or more, or there is no curve to read")
        if not 0 <= self.smoothing < 1:
            raise UserError(f"smoothing is {self.smoothing}: give 0 or more, and less than 1")


@dataclass
class LrFindConfig(FinetuneConfig, RatesConfig):
    """Try rising learning rates on a run's own data and model: ``lr-find --config YAML``, that of the run."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        super().__post_init__()
        self.check_rates()


@dataclass
class LrFindPromptConfig(TrainPromptConfig, RatesConfig):
    """The same of a run of ``train-prompt``."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        super().__post_init__()
        self.check_rates()


@dataclass(frozen=True)
class RateCurve:
    """What was tried, and what it says."""

    rates: list[float]
    """of each step that was made"""
    losses: list[float]
    """mean loss of each step, before its update"""
    smoothed: list[float]
    """the same, smoothed"""
    diverged_at: float | None
    """rate at which the loss was no number or above four times its lowest; None where it never was"""

    @property
    def steepest(self) -> float | None:
        """The rate at which the loss falls fastest over the logarithm of the rate; None where it never falls.

        The slope is that of the least-squares line through a sixth of the steps, up to the lowest smoothed loss: a
        batch that happens to be easy is no descent.
        """
        width = max(3, len(self.rates) // _WINDOWS)
        places = np.arange(width) - (width - 1) / 2
        losses = self.losses[: int(np.argmin(self.smoothed)) + 1] if self.losses else []
        if len(losses) < width:
            return None
        slopes = np.correlate(losses, places / (places @ places), mode="valid")
        return self.rates[int(np.argmin(slopes)) + width // 2] if slopes.min() < 0 else None

    @property
    def turn(self) -> float | None:
        """The rate at which the smoothed loss is lowest before it rises; None where it does not rise."""
        if not self.smoothed or (self.diverged_at is None and self.smoothed[-1] < _ROSE * min(self.smoothed)):
            return None
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def suggestion(self) -> float | None:
        """The smaller of the steepest descent and a tenth of the turn; None where the loss never fell."""
        if self.steepest is None:
            return None
        return self.steepest if self.turn is None else min(self.steepest, self.turn / 10)

    def lines(self) -> list[str]:
        """What was found, a line each."""
        if self.diverged_at is not None:
            lines = [f"cut short at {self.diverged_at:.1e}: the loss was above 4 times its lowest, or no number"]
        else:
            lines = [f"tried up to {self.rates[-1]:.1e}"]
        if self.steepest is None:
            return [*lines, "no suggestion: the loss never fell; give a lower lr_min, or more num_steps"]
        lines.append(f"the loss falls fastest at {self.steepest:.1e}")
        if self.turn is None:
            lines.append(
                "it never rises: the suggestion is that rate; a higher lr_max would show where learning breaks"
            )
        else:
            lines.append(
                f"smoothed, it is lowest at {self.turn:.1e} and rises from there: a tenth of that is "
                f"{self.turn / 10:.1e}; the suggestion is the smaller of the two"
            )
        return [*lines, f"suggested: --training.learning_rate {self.suggestion:.1e}"]


def lr_find(config: LrFindConfig | LrFindPromptConfig) -> RateCurve:
    """Try the rates and say what they show; all processes call this together, rank 0 prints.

    Model, data and engine are those of the run from its start. Nothing is written into the run's folder.

    Raises:
        UserError: parts that do not belong together, or a file that is missing.
        MissingExtraError: a chart is asked for, and matplotlib is not installed.
    """
    figure = None if config.chart is None else _figure()
    rank, _ = start_processes(config.training.device.num_threads)
    engine, steps = _open(config)
    curve = _try_rates(steps, config, prints=rank == 0)
    if rank == 0:
        print("\n".join(curve.lines()), flush=True)
        if config.json is not None:
            found = {"steepest": curve.steepest, "turn": curve.turn, "suggestion": curve.suggestion}
            text = json.dumps({**asdict(curve), **found}, indent=1, allow_nan=False)
            write_atomically(Path(config.json), (text + "\n").encode())
        if config.chart is not None:
            _draw(figure, curve, Path(config.chart))
    wait_for_all()
    engine.destroy()
    return curve


def _open(config: LrFindConfig | LrFindPromptConfig) -> tuple[Any, Steps]:
    """The run's engine, as at its start, and its updates."""
    with tempfile.TemporaryDirectory() as scratch:
        if isinstance(config, LrFindPromptConfig):
            with preparation():
                _, parts = open_run_parts(config, RunPaths(config))
                prompted = open_prompt_data(config, RunPaths(config), parts, scratch=Path(scratch))
            engine = start_engine(prompt_objective(config, parts, prompted), config.training)
            return engine, Steps(engine, prompted.stream, config.training)
        check_base(config, RunPaths(config))
        with preparation():
            data = open_data(config, scratch=Path(scratch))
            model = build_run_model(config, data)
    apart = row_training(config, model, data.speech)
    module = LanguageModelLoss(model, len(data.stream.groups), config.training.device.loss_kernel)
    engine = start_engine(module, config.training, row_training=apart)
    return engine, Steps(engine, data.stream, config.training, apart)


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "a chart") from None
    return Figure(figsize=(9, 5), layout="constrained")


def _draw(figure: Any, curve: RateCurve, file: Path) -> None:
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color="0.75", label="loss of a step")
    axes.plot(curve.rates, curve.smoothed, label="smoothed")
    marks = (("falls fastest", curve.steepest, ":"), ("lowest", curve.turn, "--"), ("suggested", curve.suggestion, "-"))
    for label, rate, style in marks:
        if rate is not None:
            axes.axvline(rate, color="black", linestyle=style, linewidth=1, label=f"{label}: {rate:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def main(arguments: list[str]) -> None:
    """``lr-find --config YAML [--lr_min RATE] [--lr_max RATE] [--num_steps N] [--json FILE] [--chart FILE.png]``"""
    if is_prompt_run(arguments, "lr-find"):
        lr_find(parse_configuration(LrFindPromptConfig, arguments, "lr-find"))
    else:
        lr_find(parse_configuration(LrFindConfig, arguments, "lr-find"))


def _try_rates(steps: Steps, config: RatesConfig, prints: bool) -> RateCurve:
    curve = RateCurve([], [], [], None)
    state, mean = TrainingState(), 0.0
    for step, rate in enumerate(np.geomspace(config.lr_min, config.lr_max, config.num_steps).tolist()):
        state, _ = steps.take(state, rate)
        loss = steps.losses.result()["loss"]
        mean = config.smoothing * mean + (1 - config.smoothing) * loss
        smoothed = mean / (1 - config.smoothing ** (step + 1))
        if prints:
            print(
                f"step {step + 1}/{config.num_steps}  lr {rate:.2e}  loss {loss:.3f}  smoothed {smoothed:.3f}",
                flush=True,
            )
        if not math.isfinite(loss) or (curve.smoothed and smoothed > _DIVERGED * min(curve.smoothed)):
            return RateCurve(curve.rates, curve.losses, curve.smoothed, rate)
        curve.rates.append(rate)
        curve.losses.append(loss)
        curve.smoothed.append(smoothed)
    return curve
