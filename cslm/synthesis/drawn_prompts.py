"""Which prompts are put to which transcript: drawn from a pool by the seed and the sample's id alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from cslm.errors import UserError
from cslm.sequences.task_pool import CELLS, NOTHING_ASKED, Prompt, TaskPool

CONDITIONS = ("none", "continuation", "tasks")
"""What is asked: nothing (AZeroS), to go on (BLSP), or tasks of the pool (MTBI)."""


def pool_for(condition: str, pool: TaskPool, tasks: Sequence[str] | None) -> TaskPool:
    """The part of a pool that a condition asks for.

    Raises:
        UserError: there is no such condition, or the pool lacks a task.
    """
    if condition not in CONDITIONS:
        raise UserError(f"condition is {condition!r}: choose one of {', '.join(CONDITIONS)}")
    if condition == "none":
        return NOTHING_ASKED
    names = [condition] if condition == "continuation" else list(tasks or pool.tasks)
    pool.check_tasks(names, "condition" if condition == "continuation" else "tasks")
    return TaskPool({name: pool.tasks[name] for name in names}, pool.digest)


class DrawnPrompts:
    """The prompts of each sample in each of some cells."""

    def __init__(self, pool: TaskPool, cells: Sequence[str], num_prompts: int, seed: int) -> None:
        """Draw ``num_prompts`` in each cell, never one twice, from all tasks as often; 0: all that there are.

        Raises:
            UserError: a cell that is none, or that has no task, or no wording, of the pool.
        """
        self._pool, self._cells, self._num_prompts, self._seed = pool, list(cells), num_prompts, seed
        for cell in cells:
            if cell not in CELLS:
                raise UserError(f"cells: there is no cell {cell!r}: choose of {', '.join(CELLS)}")
            if not any(pool.prompts(task, "en", CELLS[cell][0]) for task in self._tasks(cell)):
                unseen_wording, unseen_task = CELLS[cell]
                kind = f"{'un' if unseen_wording else ''}seen wordings of {'un' if unseen_task else ''}seen tasks"
                raise UserError(f"cells: {cell} wants {kind}, and of {', '.join(pool.tasks)} there are none")

    def of(self, sample_id: str, language: str) -> list[tuple[str, Prompt]]:
        """Cell and prompt of each that is put to a sample."""
        generator = np.random.default_rng(_number(f"{self._seed}/{sample_id}"))
        found = []
        for cell in self._cells:
            every = {task: self._pool.prompts(task, language, CELLS[cell][0]) for task in self._tasks(cell)}
            found += [(cell, prompt) for prompt in _drawn(every, self._num_prompts, generator)]
        return found

    def _tasks(self, cell: str) -> list[str]:
        return [name for name, task in self._pool.tasks.items() if task.held_out == CELLS[cell][1]]


def _drawn(every: dict[str, list[Prompt]], count: int, generator: np.random.Generator) -> list[Prompt]:
    """So many prompts: one of each task in turn, tasks and prompts in an order that is drawn; all for 0."""
    if count == 0:
        return [prompt for prompts in every.values() for prompt in prompts]
    left = {task: [prompts[i] for i in generator.permutation(len(prompts))] for task, prompts in every.items()}
    order = [list(every)[i] for i in generator.permutation(len(every))]
    found: list[Prompt] = []
    while len(found) < count and any(left.values()):
        for task in order:
            if left[task] and len(found) < count:
                found.append(left[task].pop())
    return found


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")
