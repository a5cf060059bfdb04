"""The claims of MTBI: arms learn as many tokens from one model a seed, and figures follow from the files of scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from cslm.benchmarks.claims import mtbi as module
from cslm.benchmarks.claims import prompt_world
from cslm.benchmarks.claims.figures import Rows
from cslm.benchmarks.claims.mtbi import CASCADE_CLAIM, INTERLEAVING, LESS_DATA, PROMPTS, STEPS, TASKS_CLAIM
from cslm.benchmarks.claims.spoken_tasks import ANSWERS
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.files.json_lines import write_json_lines
from cslm.sequences.task_pool import CELLS, read_pool

SENTENCES = 40
RIGHT = {"continuation": (20, 16, 8, 4), "many_tasks": (36, 32, 24, 20),
         "many_tasks_tenth": (30, 28, 20, 18), "answers": (34, 26, 10, 6)}  # fmt: skip
"""of 40 sentences, how many are answered rightly in each cell, in both languages"""
CURVES = {"not_interleaved_constant": (0, 4, 8, 12, 16, 20, 24, 28),
          "interleaved_constant": (4, 12, 20, 28, 30, 30, 32, 32)}  # fmt: skip
"""the same in every cell, after each hundred steps"""


@pytest.fixture(autouse=True)
def written(monkeypatch):
    """Nothing is written beside a corpus that is not there; which true answers are, by the store that they are of."""
    found = []
    monkeypatch.setattr(prompt_world, "write_prompt_documents", lambda *given: None)
    monkeypatch.setattr(module, "write_true_answers", lambda imitated, output, *more: found.append((imitated, output)))
    return found


@pytest.fixture
def scored(stages):
    """Each sentence in two languages, under one prompt of each cell."""
    corpus = stages.folder / "corpus"
    corpus.mkdir(parents=True)
    utterances = [
        Utterance(f"{code}-{number}", "a.wav", "said", code, group=f"g{number}")
        for code in ("en", "fr")
        for number in range(SENTENCES)
    ]
    write_manifest(utterances, corpus / "statements_test.jsonl")
    for arm, right in RIGHT.items():
        write_lines(stages, f"{arm}_grid", right)
    for arm, curve in CURVES.items():
        for step, right in zip(STEPS, curve, strict=True):
            write_lines(stages, f"{arm}_curve_{step}", [right] * 4)
    heard = [[f"{code}-{number}", code, f"heard {number}"] for code in ("en", "fr") for number in range(SENTENCES)]
    (stages.folder / "heard_statements.json").write_text(json.dumps(heard))
    answers = [[f"heard {number}", code, said(number, 22)] for _ in CELLS for _, code, number in numbered()]
    (stages.folder / "cascade_task_answers.json").write_text(json.dumps(answers))
    (stages.folder / "cascade_times.json").write_text(json.dumps([[0.02, 0.05], [0.03, 0.05], [0.01, 0.05]]))
    return stages


def numbered():
    return [(f"{code}-{number}", code, number) for code in ("en", "fr") for number in range(SENTENCES)]


def said(number, count):
    return "The lizard!" if number < count else "A goose."


def write_lines(stages, folder, right):
    """The text-only model is right about 38 of 40."""
    lines = [
        {"id": name, "language": code, "task": "thing", "wording": 1, "target_language": None, "cell": cell,
         "before": "What? ", "after": "", "text_answer": said(number, 38), "answer": said(number, count),
         "reference": "the lizard"}
        for cell, count in zip(CELLS, right, strict=True)
        for name, code, number in numbered()
    ]  # fmt: skip
    (stages.folder / folder).mkdir()
    write_json_lines(lines, stages.folder / folder / "imitation.jsonl")


def figures_of(claim, stages):
    return {figure.name: figure for figure in claim.figures(Rows(claim.measure(stages, 7, claim.arms)))}


def test_gains_are_of_the_cell_that_the_claim_is_about(scored):
    found = figures_of(PROMPTS, scored)
    gain = found["unseen wordings: many tasks against continuation, relative"]
    assert gain.value == pytest.approx(1.0) and gain.met is True
    assert found["text only, seen, accuracy"].value == pytest.approx(38 / 40)
    assert found["many_tasks, seen, as text"].value == pytest.approx(38 / 40), "and two that both have wrong"
    closed = "share of the gap from continuation to text only that is closed"
    assert found[f"unseen wordings: {closed}"].value == pytest.approx(16 / 22)
    found = figures_of(TASKS_CLAIM, scored)
    assert found[f"unseen tasks: {closed}"].value == pytest.approx(16 / 30)
    gain = found["unseen tasks: many tasks against continuation, relative"]
    assert gain.value == pytest.approx(2.0) and gain.met is True
    assert found["unseen tasks and wordings: many tasks - continuation"].value == pytest.approx(0.4)


def test_one_sentence_in_all_languages_is_drawn_together(scored):
    rows = [row for row in PROMPTS.measure(scored, 7, ("many_tasks",)) if row.metric == "accuracy seen"]
    assert len(rows) == 2 * SENTENCES and len({row.cluster for row in rows}) == SENTENCES


SHARE = "steps to the right answers that the arm without interleaving ends with, as a share"


def test_the_steps_to_the_score_that_the_arm_without_interleaving_ends_with(scored):
    found = figures_of(INTERLEAVING, scored)
    assert found[SHARE].value == 0.5 and found[SHARE].met is True, "28 of 40 after 400 steps of 800"
    assert found["seed 7, not_interleaved_constant: right answers after 800 steps"].value == pytest.approx(0.7)
    assert found["text only: right answers"].value == pytest.approx(38 / 40)


def test_a_score_that_is_never_reached_takes_no_number_of_steps(scored):
    for step in STEPS:
        shutil.rmtree(scored.folder / f"interleaved_constant_curve_{step}")
        write_lines(scored, f"interleaved_constant_curve_{step}", [27] * 4)
    share = figures_of(INTERLEAVING, scored)[SHARE]
    assert share.value == float("inf") and share.met is False


def test_an_arm_is_scored_before_its_training_goes_on(scored):
    list(INTERLEAVING.measure(scored, 7, ("interleaved_constant",)))
    own = [name for name in scored.seen if name.startswith("interleaved_constant")]
    assert own[:4] == [f"interleaved_constant{end}" for end in ("_100", "_curve_100", "_200", "_curve_200")]
    stops = {scored.read[f"interleaved_constant_{step}"].training.last_step: step for step in STEPS}
    assert all(last == step for last, step in stops.items()) and len(stops) == len(STEPS)
    assert scored.read["interleaved_constant_100"].training.schedule_steps == STEPS[-1], "one schedule"


def test_less_data_counts_over_the_whole_grid(scored):
    found = figures_of(LESS_DATA, scored)
    gain = found["whole grid: imitation with a tenth - true answers with all"]
    assert gain.value == pytest.approx((96 - 76) / 160) and gain.met is True
    assert found["seen: the same"].value == pytest.approx(-0.1)
    closed = "share of the gap from true answers to text only that the tenth closes"
    assert found[f"unseen_both: {closed}"].value == pytest.approx(12 / 32)


def test_the_cascade_is_told_by_answers_and_by_time(scored):
    found = figures_of(CASCADE_CLAIM, scored)
    gain = found["unseen tasks: many tasks - cascade"]
    assert gain.value == pytest.approx(0.05) and gain.met is True and gain.bar == "0 or more, by its mean"
    closed = found["unseen tasks: share of the gap from the cascade to text only that is closed"]
    assert closed.value == pytest.approx(2 / 16)
    time = found["time of an answer, of the cascade's"]
    assert time.value == pytest.approx(0.4) and time.met is True and time.interval[0] < 0.4 < time.interval[1] < 1


def test_a_model_just_below_the_cascade_is_not_equal_to_it(scored):
    answers = json.loads((scored.folder / "cascade_task_answers.json").read_text())
    better = [[*row[:2], said(int(row[0].split()[1]), 25)] for row in answers]
    (scored.folder / "cascade_task_answers.json").write_text(json.dumps(better))
    assert figures_of(CASCADE_CLAIM, scored)["unseen tasks: many tasks - cascade"].met is False


def test_arms_learn_as_many_tokens_and_only_what_their_name_says_is_another(scored, written):
    for claim in (PROMPTS, INTERLEAVING, LESS_DATA):
        list(claim.measure(scored, 7, claim.arms))
    arms = {arm: scored.read[arm] for arm in RIGHT}
    assert len({arm.training.max_tokens for arm in arms.values()}) == 1
    assert all(arm.losses.cross_entropy is not None and arm.connector.convolutions for arm in arms.values())
    tasks = arms["many_tasks"].sources["imitation"]
    assert tasks.text_words.values[-1] == 0 and tasks.targets == "targets_tasks"
    assert tasks.manifest == "corpus/statements.jsonl"
    others = {
        "continuation": {"targets": "targets_continuation"},
        "many_tasks_tenth": {"manifest": "corpus/statements_tenth.jsonl"},
        "answers": {"targets": "targets_true"},
    }
    for arm, other in others.items():
        assert arms[arm].sources == {"imitation": replace(tasks, **other)}, arm
    pair = [scored.read[f"{arm}_800"] for arm in CURVES]
    assert pair[0] == replace(
        pair[1], output=pair[0].output, sources={"imitation": replace(pair[1].sources["imitation"], text_words=0.0)}
    )
    assert pair[1].sources["imitation"] == tasks and pair[1].training.schedule.shape == "constant"
    conditions = {name: scored.read[name].condition for name in ("targets_tasks", "targets_continuation")}
    assert conditions == {"targets_tasks": "tasks", "targets_continuation": "continuation"}
    assert scored.read["targets_grid"].cells == list(CELLS) and scored.read["targets_tasks"].cells == ["seen"]
    assert written == [(scored.folder / "targets_tasks", scored.folder / "targets_true")]


def test_the_pool_of_the_village_has_enough_wordings_and_a_right_answer_to_each_task():
    pool = read_pool(str(prompt_world.settings_file("prompt", "tasks")))
    assert set(pool.tasks) == set(ANSWERS)
    assert all(task.num_wordings("ja") == (8, 4) for task in pool.tasks.values())
    assert [name for name, task in pool.tasks.items() if task.held_out] == [
        "keywords", "title", "question", "thing_abroad",
    ]  # fmt: skip
