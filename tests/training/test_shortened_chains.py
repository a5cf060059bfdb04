"""Chains that become shorter, and a run that is killed among them."""

from __future__ import annotations

import json

import pytest

from cslm.training import pretrain
from cslm.training.steps import RESET_NOTE
from tests.training.processes import finish, start
from tests.worlds.tiny_chains import make_chains
from tests.worlds.tiny_world import pretrain_config, text_lm_config, write_config

SCRIPT = "tests/training/run_shortened.py"


def curve(output):
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["tokens"]) for row in rows]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = make_chains(tmp_path_factory.mktemp("world"))
    for config in (text_lm_config(root, max_steps=1), pretrain_config(root, max_steps=1)):
        pretrain.main(["--config", str(write_config(root / "run.yaml", config))])
    return root


def test_killed_in_stage_3_it_goes_on_with_another_number_of_processes_and_the_same_curve(world):
    told = finish(start(1, SCRIPT, str(world), "whole"))
    assert "the source chains: chains become shorter: n grows by one every 0.25 share to 4; all are from n 3 on" in told
    slots = json.loads((world / "whole" / "checkpoints" / "step-00000004" / "state.json").read_text())
    dies_behind = slots["position"]["slot"] + 1
    finish(start(2, SCRIPT, str(world), "parts", str(dies_behind)), status=-9)
    assert 4 <= curve(world / "parts")[-1][0] < 8
    assert "resuming from step 4" in finish(start(1, SCRIPT, str(world), "parts"))
    for found, expected in zip(curve(world / "parts"), curve(world / "whole"), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    notes = [json.loads((world / name / "finished.json").read_text())["notes"] for name in ("parts", "whole")]
    assert notes[0] == notes[1] and notes[0][RESET_NOTE] == 3
