"""MTBI (arXiv 2505.18644) on the village: tasks over spoken sentences, held-out wordings and tasks, five languages.

All arms learn in as many tokens between the same frozen encoder and the same frozen language model of a seed, which
knows every task and wording in text. Answers are judged by the right ones, and beside that by the text-only model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cslm.benchmarks.claims.answered_texts import answers_to_texts, heard_texts
from cslm.benchmarks.claims.cascade import time_answers
from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.mtbi_figures import (
    ANSWERS,
    CONTINUATION,
    INTERLEAVED,
    NOT_INTERLEAVED,
    ON_THE_WAY,
    SECONDS,
    TASKS,
    TENTH,
    cascade_figures,
    interleaving_figures,
    less_data_figures,
    prompts_figures,
    tasks_figures,
)
from cslm.benchmarks.claims.prompt_documents import spoken_tasks
from cslm.benchmarks.claims.prompt_world import (
    CASCADE,
    LLM,
    RECOGNIZER,
    TEXT_ONLY,
    WORLD,
    connect,
    lines_of,
    make_parts,
    run_with,
)
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.true_answers import write_true_answers
from cslm.benchmarks.claims.worlds import score, settings_file
from cslm.corpora.manifest import read_manifest
from cslm.evaluation.error_rates import normalize
from cslm.evaluation.imitation_score import ANSWERS as LINES
from cslm.sequences.task_pool import Asked

STEPS = tuple(range(100, 801, 100))
"""where the training of an arm stops to be scored; the last is its end"""
_TRAINED = "corpus/statements.jsonl"


def make_grid(stages: Stages, seed: int) -> None:
    """What all arms of a seed need: encoder, language model, frames, and what is asked of the test."""
    make_parts(stages, seed)
    _targets(stages, seed, "targets_grid", "corpus/statements_test.jsonl", "tasks", "grid_targets")


def train_arm(stages: Stages, seed: int, arm: str) -> None:
    """Train the connector of an arm, with its targets."""
    _make_targets(stages, seed, arm)
    connect(stages, seed, arm, ("mtbi",))


def grid_rows(
    stages: Stages, seed: int, arm: str, lines: list[dict[str, Any]], answer: str = "answer"
) -> Iterator[Row]:
    """Whether each answer is right, and whether it is the text-only model's, by cell of the grid.

    The sentence that all languages say decides what is drawn together.
    """
    groups = {it.id: it.group for it in read_manifest(stages.folder / "corpus" / "statements_test.jsonl")}
    for line in lines:
        into, cell = line["target_language"], line["cell"]
        code = into or line["language"]
        item = f"{groups[line['id']]}/{line['language']} {cell} {line['task']} {line['wording']} {into or ''}"
        found = normalize(line[answer], code)
        yield Row(arm, seed, item, f"accuracy {cell}", float(found == normalize(line["reference"], code)))
        if answer != "text_answer":
            yield Row(arm, seed, item, f"as text {cell}", float(found == normalize(line["text_answer"], code)))


def curve_rows(stages: Stages, seed: int, arm: str) -> Iterator[Row]:
    """The share of right answers over the whole grid, at every stop of the training of an arm, by its step.

    The run goes on from each stop as one that was killed there would.
    """
    _make_targets(stages, seed, arm)
    for step in STEPS:
        connect(stages, seed, arm, ("mtbi",), step)
        lines = lines_of(stages, f"{score(stages, WORLD, arm, 'curve', f'_{step}').name}/{LINES}")
        yield _right(stages, seed, arm, step, lines)
        if arm == NOT_INTERLEAVED and step == STEPS[-1]:
            yield _right(stages, seed, TEXT_ONLY, step, lines, "text_answer")


def _right(stages: Stages, seed: int, arm: str, step: int, lines: list[dict[str, Any]], answer: str = "answer") -> Row:
    rows = grid_rows(stages, seed, arm, lines, answer)
    right = [row.value for row in rows if row.metric.startswith("accuracy")]
    return Row(arm, seed, f"{step:06d}/curve", ON_THE_WAY, sum(right) / len(right))


def _make_targets(stages: Stages, seed: int, arm: str) -> None:
    """What an arm imitates."""
    if arm == CONTINUATION:
        _targets(stages, seed, "targets_continuation", _TRAINED, "continuation", "targets")
        return
    _targets(stages, seed, "targets_tasks", _TRAINED, "tasks", "targets")
    if arm == ANSWERS:
        tasks = spoken_tasks(settings_file(WORLD, "village"), settings_file(WORLD, "tasks"), seed)
        imitated, true = (stages.folder / name for name in ("targets_tasks", "targets_true"))
        write_true_answers(imitated, true, stages.folder / LLM, tasks)


def _targets(stages: Stages, seed: int, name: str, manifest: str, condition: str, settings: str) -> None:
    pool = settings_file(WORLD, "tasks")
    given = [manifest, "--llm", LLM, "--output", name, "--condition", condition, "--pool", str(pool)]
    run_with(stages, name, "make-targets", [*given, "--seed", str(seed)], (settings,), (pool,))


def _lines(stages: Stages, arm: str) -> list[dict[str, Any]]:
    return lines_of(stages, f"{score(stages, WORLD, arm, 'grid').name}/{LINES}")


def _measure(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    make_grid(stages, seed)
    for arm in arms:
        if arm == TEXT_ONLY:
            yield from grid_rows(stages, seed, arm, _lines(stages, TASKS), "text_answer")
        else:
            train_arm(stages, seed, arm)
            yield from grid_rows(stages, seed, arm, _lines(stages, arm))


def _measure_steps(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    make_grid(stages, seed)
    for arm in arms:
        yield from curve_rows(stages, seed, arm)


def _measure_cascade(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    """All answers at once, the recordings heard by the recognizer of the world; some one by one, for the time."""
    make_grid(stages, seed)
    train_arm(stages, seed, TASKS)
    lines, manifest = _lines(stages, TASKS), stages.folder / "corpus" / "statements_test.jsonl"
    tests = list(read_manifest(manifest))
    heard = heard_texts(stages.folder / RECOGNIZER, manifest, tests, stages.folder / "heard_statements.json")
    by_id = {it.id: (text, it.language) for it, text in zip(tests, heard, strict=True)}
    asked = [Asked(line["before"], line["after"]) for line in lines]
    kept = stages.folder / "cascade_task_answers.json"
    found = answers_to_texts(stages.folder / LLM, [by_id[line["id"]] for line in lines], kept, asked)
    lines = [{**line, "cascade_answer": answer} for line, answer in zip(lines, found, strict=True)]
    unseen = [line for line in lines if line["cell"] == "unseen_tasks"]
    model, recognizer, llm = (stages.folder / name for name in (TASKS, RECOGNIZER, LLM))
    times = time_answers(model, recognizer, llm, manifest, tests, unseen, stages.folder / "cascade_times.json")
    answers = {TASKS: "answer", CASCADE: "cascade_answer", TEXT_ONLY: "text_answer"}
    seconds = {TASKS: [it.model for it in times], CASCADE: [it.cascade for it in times]}
    for arm in arms:
        yield from grid_rows(stages, seed, arm, lines, answers[arm])
        for number, value in enumerate(seconds.get(arm, [])):
            yield Row(arm, seed, f"{number:03d}/seconds", SECONDS, value)


PROMPTS = Claim(
    WORLD,
    "Imitation of many tasks against continuation alone: wordings that speech was never trained on.",
    (CONTINUATION, TASKS, TEXT_ONLY),
    _measure,
    prompts_figures,
)
TASKS_CLAIM = Claim(
    WORLD,
    "Imitation of many tasks against continuation alone: tasks that speech was never trained on.",
    (CONTINUATION, TASKS, TEXT_ONLY),
    _measure,
    tasks_figures,
)
INTERLEAVING = Claim(
    WORLD,
    "Words as text among the speech make the alignment more efficient.",
    (NOT_INTERLEAVED, INTERLEAVED),
    _measure_steps,
    interleaving_figures,
)
LESS_DATA = Claim(
    WORLD,
    "Imitation from transcripts of a tenth of the speech against true answers to all of it.",
    (ANSWERS, TENTH, TASKS, TEXT_ONLY),
    _measure,
    less_data_figures,
)
CASCADE_CLAIM = Claim(
    WORLD,
    "The model that hears against a recognizer of the same encoder, then the language model.",
    (CASCADE, TASKS, TEXT_ONLY),
    _measure_cascade,
    cascade_figures,
)
