"""The optimizer forgets its moments where the data change: as if it were made anew, on every sharding and on resume."""

from __future__ import annotations

import json

import pytest
import torch

from cslm.batches.sources import SourceConfig
from cslm.errors import UserError
from cslm.model.backbone import ModelConfig
from cslm.sequences.compression import CompressionConfig
from cslm.training.language_model_config import LanguageModelConfig
from cslm.training.run_data import check_can_forget
from cslm.training.steps import RESET_NOTE
from tests.conftest import ROOT
from tests.training.processes import finish, start
from tests.training.run_phases import CHANGES, run
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_stream import TinyStream, tiny_module

SCRIPT = "tests/training/run_phases.py"


def curve(output):
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["grad_norm"], row["lr"], row["tokens"]) for row in rows]


def plain_loop(steps: int, forgets: bool = True) -> tuple[list[float], list[float]]:
    """Torch alone: losses and norms under an optimizer that is made anew where the data change."""
    module = tiny_module().train()
    parameters = list(module.parameters())
    losses, norms = [], []
    for step in range(steps):
        if step == 0 or (forgets and step in CHANGES):
            groups = [{"params": [p for p in parameters if p.dim() > 1]},
                      {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]  # fmt: skip
            optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
        batch = TinyStream().step({"step": step})
        loss = sum(module(row).weighted_sum for row in batch.micro_batches) / batch.counts["targets"]
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, 0.5)))
        optimizer.step()
    return losses, norms


@pytest.fixture(scope="module")
def expected():
    return plain_loop(7)


@pytest.mark.parametrize(
    ("zero_stage", "offload"), [(0, False), (1, False), (2, False), (2, True), (3, False), (3, True)]
)
def test_a_step_behind_the_change_is_that_of_a_new_optimizer(tmp_path, expected, zero_stage, offload):
    settings = {"deepspeed": str(ROOT / "recipes" / "deepspeed" / f"zero{zero_stage}_offload.json")} if offload else {}
    run(str(tmp_path), 7, zero_stage=zero_stage, **settings)
    losses, norms = expected
    assert [row[1] for row in curve(tmp_path)] == pytest.approx(losses, rel=1e-5)
    assert [row[2] for row in curve(tmp_path)] == pytest.approx(norms, rel=1e-4)
    assert losses != pytest.approx(plain_loop(7, forgets=False)[0], rel=1e-3)
    assert json.loads((tmp_path / "finished.json").read_text())["notes"] == {RESET_NOTE: len(CHANGES)}


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_stopped_at_a_change_it_goes_on_as_if_never_stopped(tmp_path, zero_stage):
    run(str(tmp_path / "whole"), 7, zero_stage=zero_stage)
    for steps in (CHANGES[0], 7):
        run(str(tmp_path / "parts"), steps, zero_stage=zero_stage)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_another_number_of_processes_goes_on_with_the_same_curve(tmp_path, expected):
    for steps, count in ((CHANGES[0], 2), (7, 1)):
        finish(start(count, SCRIPT, json.dumps({"output": str(tmp_path), "max_steps": steps, "zero_stage": 2})))
    assert [row[1] for row in curve(tmp_path)] == pytest.approx(expected[0], rel=1e-4)


def config_with(optimizer: str = "adamw", **settings: object) -> LanguageModelConfig:
    source = SourceConfig("dialogue", 1, order="xs_cot", compression=CompressionConfig(reset_optimizer=True))
    training = training_config(max_steps=1, optimizer=optimizer, **settings)
    return LanguageModelConfig("out", {"chains": source}, training, ModelConfig(base="base"))


def test_an_optimizer_that_remembers_nothing_or_keeps_it_on_disk_is_refused(tmp_path):
    check_can_forget(config_with())
    with pytest.raises(UserError, match="the source chains has compression.reset_optimizer, and sgd has no moments"):
        check_can_forget(config_with("sgd"))
    settings = {"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme", "nvme_path": "/disk"}}}
    (tmp_path / "nvme.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="has compression.reset_optimizer, and .*nvme.json keeps the moments on a disk"):
        check_can_forget(config_with(zero_stage=3, deepspeed=str(tmp_path / "nvme.json")))
