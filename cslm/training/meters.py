"""What a run tells: a line per log step, ``metrics.jsonl``, ``validation.jsonl``, TensorBoard, and Weights & Biases."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.model.objective import Objective
from cslm.training.run_folder import METRICS_FILE
from cslm.training.state import TrainingState
from cslm.training.tracking import WandbRun
from cslm.training.work_meter import DeviceWork

SPIKE_LINES = 20
SPIKES = {"loss": 1.5, "grad_norm": 10.0}
"""How many times the median of the last lines is a spike."""


class LossMeter:
    """Sums losses by group over the steps since the last log line, without asking the device for a value."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = list(groups)
        self._sums: Tensor | None = None
        self._weights: dict[str, float] = {}

    def add(self, objectives: Sequence[Objective]) -> None:
        """Add the micro-batches of one step of this process, without their graphs."""
        for objective in objectives:
            parts = [torch.stack(objective.report).flatten(), objective.weighted_sum[None], *self._terms(objective)]
            sums = torch.cat(parts)
            self._sums = sums if self._sums is None else self._sums + sums

    def _terms(self, objective: Objective) -> list[Tensor]:
        """The sums of the terms and what they are over, where each is reported as its own mean."""
        if objective.counts is None:
            return []
        counts, terms = objective.counts, objective.terms
        self._weights = {name: term.weight for name, term in terms.items()}
        sums = torch.stack([term.sum.float() for term in terms.values()])
        return [sums, sums.new_tensor([counts[term.per] for term in terms.values()])]

    def result(self) -> dict[str, Any]:
        """``loss``, and ``groups``, ``accuracy`` and ``counts`` by name, over all processes; starts a new window.

        The loss is the objective's weighted sum by all that the groups count: of one term its mean. Where the terms are
        reported as means of their own, these are ``terms``, and the loss is their sum by their weights; a term that
        nothing was counted for is left out: it is not 0.
        Every process calls this together.
        """
        assert self._sums is not None, "no step since the last result"
        if torch.distributed.get_world_size() > 1:
            torch.distributed.all_reduce(self._sums)
        values = self._sums.cpu().double()
        self._sums = None
        num_reported = 3 * len(self.groups)
        sums, counts, correct = values[:num_reported].view(3, len(self.groups)).tolist()
        seen = [i for i, count in enumerate(counts) if count > 0]
        loss, terms = float(values[num_reported]) / max(1.0, math.fsum(counts)), {}
        if self._weights:
            of_terms = values[num_reported + 1 :].view(2, len(self._weights)).T.tolist()
            pairs = zip(self._weights, of_terms, strict=True)
            terms = {name: total / count for name, (total, count) in pairs if count > 0}
            loss = math.fsum(self._weights[name] * mean for name, mean in terms.items())
        return {
            "loss": loss,
            "terms": terms,
            "groups": {self.groups[i]: sums[i] / counts[i] for i in seen},
            "accuracy": {self.groups[i]: correct[i] / counts[i] for i in seen},
            "counts": {self.groups[i]: counts[i] for i in seen},
        }


class NoLog:
    """What every process but rank 0 has in the place of a :class:`RunLog`."""

    def exclude(self, kind: str, seconds: float, left: int) -> None:
        """Nothing."""

    def write(
        self, state: TrainingState, result: dict[str, Any], learning_rate: float, norm: float, work: DeviceWork
    ) -> None:
        """Nothing."""

    def write_validation(self, state: TrainingState, result: dict[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class RunLog(NoLog):
    """Writes what :class:`LossMeter` and the loop report."""

    def __init__(self, output: Path, last_step: int, state: TrainingState, wandb_project: str | None = None) -> None:
        """Open the files of a run; lines after ``state.step``, from before an interruption, are dropped.

        Raises:
            MissingExtraError: a project of Weights & Biases, but no package ``wandb``.
        """
        self.last_step = last_step
        output.mkdir(parents=True, exist_ok=True)
        self._file = _from_step(output / METRICS_FILE, state.step)
        self._validation = _from_step(output / "validation.jsonl", state.step)
        self._board = SummaryWriter(str(output / "tensorboard"), purge_step=state.step + 1)
        self._tracked = WandbRun(wandb_project, output) if wandb_project is not None else None
        self._spikes = SpikeWatch()
        self._pause, self._to_come = 0.0, dict[str, float]()
        self._since, self._step, self._tokens = time.perf_counter(), state.step, state.tokens

    def exclude(self, kind: str, seconds: float, left: int) -> None:
        """Leave time that was not training out of the speed, and count ``left`` more of its kind in the time left."""
        self._pause += seconds
        self._to_come[kind] = seconds * left

    def write(
        self, state: TrainingState, result: dict[str, Any], learning_rate: float, norm: float, work: DeviceWork
    ) -> None:
        """One log step."""
        seconds = time.perf_counter() - self._since - self._pause
        tokens = state.tokens - self._tokens
        left = (self.last_step - state.step) * seconds / max(1, state.step - self._step) + sum(self._to_come.values())
        row = {
            "step": state.step,
            "tokens": state.tokens,
            "loss": result["loss"],
            "lr": learning_rate,
            "grad_norm": norm,
            "tokens_per_sec": round(tokens / seconds, 1),
            "mfu": work.mfu(seconds),
            "peak_memory_gib": round(work.peak_memory / 2**30, 3),
            "waiting": round(work.waiting(tokens), 5),
            "seconds_left": round(left, 1),
            "groups": result["groups"],
            "accuracy": result["accuracy"],
            "consumed": state.consumed,
            **({"terms": result["terms"]} if result.get("terms") else {}),
        }
        row["spike"] = self._spikes.look(row)
        print(_line(row, _by_kind(result), self.last_step), flush=True)
        if row["spike"] is not None:
            print(f"step {state.step:,}  spike: {row['spike']}", flush=True)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        scalars = _scalars(row)
        self._send(scalars, state.step)
        self._since, self._step, self._tokens, self._pause = time.perf_counter(), state.step, state.tokens, 0.0

    def write_validation(self, state: TrainingState, result: dict[str, Any]) -> None:
        """One look at the held-out documents."""
        row = {key: result[key] for key in ("loss", "groups", "accuracy", "best")}
        row |= {"terms": result["terms"]} if result.get("terms") else {}
        best = ", the lowest so far" if result["best"] else ""
        print(f"step {state.step:,}  validation loss {row['loss']:.3f}{best}  [{_by_kind(result)}]", flush=True)
        self._validation.write(json.dumps({"step": state.step, "tokens": state.tokens, **row}) + "\n")
        self._validation.flush()
        by_group = {f"validation/{group}": value for group, value in row["groups"].items()}
        self._send({"validation/loss": row["loss"], **by_group}, state.step)

    def _send(self, scalars: dict[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        if self._tracked is not None:
            self._tracked.log(scalars, step)

    def close(self) -> None:
        """Flush and close the files."""
        self._file.close()
        self._validation.close()
        self._board.close()
        if self._tracked is not None:
            self._tracked.close()


class SpikeWatch:
    """Remembers the last log lines, and names what stands out from them."""

    def __init__(self) -> None:
        self._last = {"loss": deque[float](maxlen=SPIKE_LINES), "grad_norm": deque[float](maxlen=SPIKE_LINES)}

    def look(self, row: dict[str, Any]) -> str | None:
        """What has jumped in this line, in words, or None."""
        jumped = []
        for name, factor in SPIKES.items():
            last = self._last[name]
            usual = statistics.median(last) if len(last) >= SPIKE_LINES // 2 else math.inf
            if row[name] > factor * usual:
                jumped.append(f"{name} is {row[name]:.3g}, the median of the last {len(last)} lines {usual:.3g}")
            last.append(row[name])
        return "; ".join(jumped) or None


def check_finite(result: dict[str, Any], norm: float, state: TrainingState, log_every: int) -> None:
    """Make sure that training has not diverged.

    Raises:
        UserError: a loss or gradient that is not a number, with steps and groups.
    """
    if math.isfinite(result["loss"]) and math.isfinite(norm):
        return
    bad = [name for name, value in result["groups"].items() if not math.isfinite(value)]
    what = f"the loss is {result['loss']}" if not math.isfinite(result["loss"]) else f"the gradient norm is {norm}"
    raise UserError(
        f"training diverged: {what} between steps {max(1, state.step - log_every + 1)} and {state.step} "
        f"(groups: {', '.join(bad) or 'none by itself'}): lower training.learning_rate or "
        "training.optimizer.gradient_clip, then run again; it goes on from the last checkpoint"
    )


def _by_kind(result: dict[str, Any]) -> str:
    """Mean losses by task and modality, all languages together; templates and markers are left to the files."""
    totals: dict[str, list[float]] = {}
    for name, loss in result["groups"].items():
        task, modality = [*name.split("/"), ""][:2]
        if modality not in ("template", "marker"):
            total = totals.setdefault(f"{task}/{modality}" if modality else task, [0.0, 0.0])
            total[0] += loss * result["counts"][name]
            total[1] += result["counts"][name]
    means = {kind: total / count for kind, (total, count) in totals.items()} | result.get("terms", {})
    return "  ".join(f"{kind} {mean:.2f}" for kind, mean in means.items())


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row by the names that TensorBoard and others show."""
    names = ("loss", "lr", "grad_norm", "tokens_per_sec", "mfu", "peak_memory_gib", "waiting", "seconds_left")
    scalars = {f"train/{name}": row[name] for name in names if row[name] is not None}
    scalars |= {f"loss/{name}": value for name, value in {**row["groups"], **row.get("terms", {})}.items()}
    return scalars | {f"accuracy/{group}": value for group, value in row["accuracy"].items()}


def _line(row: dict[str, Any], by_kind: str, last_step: int) -> str:
    mfu = "" if row["mfu"] is None else f"MFU {row['mfu']:.1%}  "
    return (
        f"step {row['step']:,}/{last_step:,}  loss {row['loss']:.3f}  [{by_kind}]  grad {row['grad_norm']:.2f}  "
        f"lr {row['lr']:.2e}  {row['tokens_per_sec']:,.0f} tokens/s  {mfu}{row['peak_memory_gib']:.1f} GiB  "
        f"waiting {row['waiting']:.1%}  {_clock(row['seconds_left'])} left"
    )


def _clock(seconds: float) -> str:
    """``4:05``, and from an hour on ``1:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _from_step(path: Path, step: int) -> TextIO:
    """A file of rows to append to; rows after ``step``, and a last line that was cut off, are dropped."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            break
    write_atomically(path, "".join(kept).encode("utf-8"))
    return path.open("a", encoding="utf-8")
