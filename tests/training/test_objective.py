"""Each term of an objective is a mean over what it counts, however it is spread."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cslm.errors import UserError
from cslm.training.engine import accumulate_gradients, start_engine, start_processes
from cslm.training.loop import train
from cslm.training.state import TrainingState, find_latest
from cslm.training.steps import BeginsSteps, Steps
from tests.training.processes import finish, start
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_stream import tiny_module
from tests.worlds.two_terms import PointStream, TwoTerms


@pytest.mark.parametrize("world_size", [1, 2])
def test_terms_of_different_counts_have_the_gradients_of_plain_torch(world_size):
    printed = finish(start(world_size, "tests/training/run_two_terms.py"))
    for stage in range(4):
        for counts in ("known", "added up"):
            assert f"stage {stage}, counts {counts}: equal" in printed


def test_a_module_is_told_of_each_step_before_it(tmp_path):
    module = TwoTerms()
    config = training_config(max_steps=3, zero_stage=0, num_threads=1, peak_tflops=1.0)
    train(module, PointStream(True), config, tmp_path, lambda weights, folder: None)
    assert module.begun == [(0, 3), (1, 3), (2, 3)]
    assert not isinstance(tiny_module(), BeginsSteps)


def test_each_term_is_reported(tmp_path):
    start_processes(1)
    config = training_config(max_steps=1, zero_stage=0, peak_tflops=1.0)
    steps = Steps(start_engine(TwoTerms(), config), PointStream(False), config)
    state, _ = steps.take(TrainingState(schedule_tokens=5), 0.1)
    result = steps.losses.result()
    assert result["counts"] == {"toy/square": 21, "toy/size": 10} and set(result["groups"]) == set(PointStream.groups)
    assert (state.step, state.tokens, state.schedule_tokens) == (1, 21, 5)


def test_a_loss_over_a_count_that_there_is_not_was_a_key_error():
    class Mistyped(TwoTerms):
        def forward(self, batch):
            found = super().forward(batch)
            return found._replace(terms={name: term._replace(per="clip") for name, term in found.terms.items()})

    rank, world_size = start_processes(1)
    engine = start_engine(Mistyped(), training_config(max_steps=1, zero_stage=0))
    with pytest.raises(UserError, match=r"the loss \w+ is a mean over clip, which nothing counts: choose from \w+, "):
        accumulate_gradients(engine, PointStream(True).step({}, rank, world_size))


def test_a_run_made_longer_keeps_the_length_that_it_began_with(tmp_path):
    config = training_config(max_steps=2, tokens_per_step=100, zero_stage=0, num_threads=1, peak_tflops=1.0)
    for steps in (2, 4):
        longer = dataclasses.replace(config, max_steps=steps)
        train(TwoTerms(), PointStream(True), longer, tmp_path, lambda weights, folder: None)
        state = find_latest(tmp_path).state
        assert (state.step, state.schedule_tokens) == (steps, 200)


def test_a_checkpoint_from_before_lengths_were_kept_takes_that_of_its_configuration(tmp_path):
    config = training_config(max_steps=4, tokens_per_step=100, zero_stage=0, num_threads=1, peak_tflops=1.0)
    two = dataclasses.replace(config, max_tokens=400, max_steps=2)
    train(TwoTerms(), PointStream(True), two, tmp_path, lambda weights, folder: None)
    file = find_latest(tmp_path).folder / "state.json"
    facts = json.loads(file.read_text())
    del facts["schedule_tokens"]
    file.write_text(json.dumps(facts))
    assert find_latest(tmp_path).state.schedule_tokens is None
    train(TwoTerms(), PointStream(True), dataclasses.replace(two, max_steps=4), tmp_path, lambda weights, folder: None)
    assert find_latest(tmp_path).state.schedule_tokens == 400
