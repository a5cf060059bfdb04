"""The figures of MTBI: right answers in each cell of the grid, steps to a score, and the cascade; from rows alone."""

from __future__ import annotations

from collections.abc import Sequence

from cslm.benchmarks.claims.figures import (
    Figure,
    Rows,
    closed_figure,
    difference,
    mean,
    no_worse_figure,
    relative_gain_figure,
    shown,
)
from cslm.benchmarks.claims.prompt_world import CASCADE, TEXT_ONLY
from cslm.sequences.task_pool import CELLS

TASKS, CONTINUATION = "many_tasks", "continuation"
INTERLEAVED, NOT_INTERLEAVED = "interleaved_constant", "not_interleaved_constant"
TENTH, ANSWERS = "many_tasks_tenth", "answers"
ON_THE_WAY, SECONDS = "right answers", "seconds per answer"
_WON = 0.2


def prompts_figures(rows: Rows) -> list[Figure]:
    """Unseen wordings of the tasks of training: many tasks against continuation alone."""
    name = "unseen wordings: many tasks against continuation, relative"
    gain = relative_gain_figure(name, rows, "accuracy unseen_wordings", TASKS, CONTINUATION, _WON)
    name = "unseen wordings: share of the gap from continuation to text only that is closed"
    closed = closed_figure(name, rows, "accuracy unseen_wordings", TASKS, CONTINUATION, TEXT_ONLY)
    return [gain, closed, *_grid(rows, (CONTINUATION, TASKS, TEXT_ONLY))]


def tasks_figures(rows: Rows) -> list[Figure]:
    """Unseen tasks: many tasks against continuation alone."""
    name = "unseen tasks: many tasks against continuation, relative"
    figures = [relative_gain_figure(name, rows, "accuracy unseen_tasks", TASKS, CONTINUATION, _WON)]
    name = "unseen tasks: share of the gap from continuation to text only that is closed"
    figures.append(closed_figure(name, rows, "accuracy unseen_tasks", TASKS, CONTINUATION, TEXT_ONLY))
    figures.append(
        shown("unseen tasks and wordings: many tasks - continuation",
              difference(rows, "accuracy unseen_both", TASKS, CONTINUATION))
    )  # fmt: skip
    return figures + _grid(rows, (CONTINUATION, TASKS, TEXT_ONLY))


def interleaving_figures(rows: Rows) -> list[Figure]:
    """The steps that interleaving takes to the share of right answers that the arm without it ends with."""
    shares, found = list[float](), list[Figure]()
    for seed in sorted({row.seed for row in rows.of(ON_THE_WAY, NOT_INTERLEAVED)}):
        without, interleaved = (
            [(_step(row.item), row.value) for row in rows.of(ON_THE_WAY, arm) if row.seed == seed]
            for arm in (NOT_INTERLEAVED, INTERLEAVED)
        )
        last_step, wanted = without[-1]
        first = next((step for step, right in interleaved if right >= wanted), None)
        shares.append(float("inf") if first is None else first / last_step)
        found += [
            Figure(f"seed {seed}, {arm}: right answers after {step} steps", right, None, "", None)
            for arm, curve in ((NOT_INTERLEAVED, without), (INTERLEAVED, interleaved))
            for step, right in curve
        ]
    share = sum(shares) / len(shares)
    met = all(one <= 0.5 for one in shares)
    name = "steps to the right answers that the arm without interleaving ends with, as a share"
    found.append(shown(f"{TEXT_ONLY}: right answers", mean(rows, ON_THE_WAY, TEXT_ONLY)))
    return [Figure(name, share, None, "0.5 or less", met), *found]


def less_data_figures(rows: Rows) -> list[Figure]:
    """Imitation of transcripts of a tenth of the speech against true answers to all of it, over the whole grid."""
    cells = [f"accuracy {cell}" for cell in CELLS]
    name = "whole grid: imitation with a tenth - true answers with all"
    figures = [no_worse_figure(name, rows, cells, TENTH, ANSWERS)]
    for cell in CELLS:
        figures.append(shown(f"{cell}: the same", difference(rows, f"accuracy {cell}", TENTH, ANSWERS)))
        name = f"{cell}: share of the gap from true answers to text only that the tenth closes"
        figures.append(closed_figure(name, rows, f"accuracy {cell}", TENTH, ANSWERS, TEXT_ONLY))
    return figures + _grid(rows, (ANSWERS, TENTH, TASKS, TEXT_ONLY))


def cascade_figures(rows: Rows) -> list[Figure]:
    """Answers to unseen tasks, and the time of one, against a recognizer and then the language model."""
    gain = difference(rows, "accuracy unseen_tasks", TASKS, CASCADE)
    name = "unseen tasks: many tasks - cascade"
    figures = [Figure(name, gain.value, (gain.low, gain.high), "0 or more, by its mean", gain.value >= 0)]
    name = "unseen tasks: share of the gap from the cascade to text only that is closed"
    figures.append(closed_figure(name, rows, "accuracy unseen_tasks", TASKS, CASCADE, TEXT_ONLY))
    theirs, saved = mean(rows, SECONDS, CASCADE).value, difference(rows, SECONDS, TASKS, CASCADE)
    share, ends = 1 + saved.value / theirs, (1 + saved.low / theirs, 1 + saved.high / theirs)
    figures.append(Figure("time of an answer, of the cascade's", share, ends, "below 1", ends[1] < 1))
    figures += [shown(f"{arm}, {SECONDS}", mean(rows, SECONDS, arm)) for arm in (TASKS, CASCADE)]
    return figures + _grid(rows, (TASKS, CASCADE, TEXT_ONLY))


def _step(item: str) -> int:
    return int(item.partition("/")[0])


def _grid(rows: Rows, arms: Sequence[str]) -> list[Figure]:
    """Right answers, and those that are the text-only model's, of each arm in each cell."""
    return [
        shown(f"{arm}, {cell}, {measure}", mean(rows, f"{measure} {cell}", arm))
        for measure in ("accuracy", "as text")
        for cell in CELLS
        for arm in arms
        if rows.has(f"{measure} {cell}", arm)
    ]
