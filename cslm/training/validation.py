"""Validation: the loss on held-out documents every so many steps, and the best model so far beside the last."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cslm.batches.micro_batch import MicroBatch
from cslm.files.atomic_file import write_atomically
from cslm.ranges import Range, check_numbers
from cslm.training.engine import full_weights
from cslm.training.meters import LossMeter
from cslm.training.state import TrainingState

BEST = "best"
BEST_FILE = "best.json"


@dataclass
class ValidationConfig:
    """What is held out, and how often it is looked at."""

    eval_steps: int
    """steps between two validations; the last step always has one"""
    share: float = 0.01
    """of every source's documents that is held out, by a hash of their group or id; never trained"""
    max_documents: int = 200
    """held-out documents of a source that are looked at"""
    keep_best: bool = True
    """write the model to the folder best whenever its loss is the lowest so far"""

    def check(self) -> None:
        """Check what types cannot; not when it is made, since a parser may make it in trying a type.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "validation", eval_steps=Range(least=1), max_documents=Range(least=1))
        check_numbers(self, "validation", share=Range(above=0, most=0.5))


class Validator:
    """Held-out micro-batches of this process, and where the best model goes."""

    def __init__(
        self,
        config: ValidationConfig,
        micro_batches: Sequence[MicroBatch],
        groups: Sequence[str],
        output: Path,
        save: Callable[[dict[str, Tensor], Path], None],
    ) -> None:
        self.config, self.micro_batches = config, micro_batches
        self._groups, self._output, self._save = groups, output, save
        self.seconds = 0.0

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether the model is looked at after this step."""
        return step == last_step or step % self.config.eval_steps == 0

    def left(self, step: int, last_step: int) -> int:
        """Validations still to come after ``step``."""
        every = self.config.eval_steps
        return last_step // every - step // every + (last_step % every != 0 and step < last_step)

    def run(self, engine: Any, state: TrainingState) -> dict[str, Any]:
        """``loss`` over all held-out trained tokens, ``groups``, ``accuracy``, ``counts``, and whether it is ``best``.

        Writes the model to ``OUTPUT/best`` where this loss is the lowest of the run. All processes call this together.
        """
        started = time.perf_counter()
        meter = LossMeter(self._groups)
        engine.eval()
        with torch.no_grad():
            for micro_batch in self.micro_batches:
                meter.add([engine(micro_batch.to(engine.device))])
        engine.train()
        result = meter.result()
        result["best"] = state.best_loss is None or result["loss"] < state.best_loss
        if result["best"]:
            state.best_loss = result["loss"]
            if self.config.keep_best:
                self._keep(engine, state, result)
        self.seconds = time.perf_counter() - started
        return result

    def _keep(self, engine: Any, state: TrainingState, result: dict[str, Any]) -> None:
        weights = full_weights(engine)
        if torch.distributed.get_rank() == 0:
            folder = self._output / BEST
            self._save(weights, folder)
            facts = {"step": state.step, "tokens": state.tokens, "loss": result["loss"], "groups": result["groups"]}
            write_atomically(folder / BEST_FILE, (json.dumps(facts, indent=1) + "\n").encode())
