from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
import torch

from cslm.errors import UserError
from cslm.training.engine import start_engine, start_processes
from tests.training.processes import ROOT, clean_environment, finish, start
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_stream import tiny_module

OPTIMIZERS = ("sgd", "faster embeddings", "adamw")
SETTINGS = sorted((ROOT / "recipes" / "deepspeed").glob("*.json"))


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_zero_stage_is_the_plain_torch_loop(world_size):
    """Gradients to 1e-5 before clipping, losses of several steps of SGD and of AdamW with clipping, and norms."""
    printed = finish(start(world_size, "tests/training/compare_with_torch.py", "0123"))
    for stage in range(4):
        for optimizer in OPTIMIZERS:
            assert f"stage {stage} {optimizer} on {world_size}: equal" in printed


def test_processes_with_different_numbers_of_chunks_do_not_wait_for_one_another_for_ever(monkeypatch):
    """Under ZeRO 3 the head's weight is gathered for every chunk, by all processes together."""
    monkeypatch.setenv("CHUNK_LOGITS", str(5 * 96))
    printed = finish(start(2, "tests/training/compare_with_torch.py", "023"))
    for stage in (0, 2, 3):
        assert f"stage {stage} adamw on 2: equal" in printed


def test_every_file_of_settings_is_the_plain_torch_loop():
    """Offload to the CPU among them, with torch's own AdamW on the CPU."""
    assert [path.stem for path in SETTINGS] == ["zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"]
    printed = finish(start(2, "tests/training/compare_with_torch.py", *map(str, SETTINGS)))
    for path in SETTINGS:
        for optimizer in OPTIMIZERS:
            assert f"{path.name} {optimizer} on 2: equal" in printed


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.stem)
def test_settings_decide_nothing_that_the_loop_decides(path):
    settings = json.loads(path.read_text(encoding="utf-8"))
    assert set(settings) == {"zero_optimization"}
    assert path.stem.startswith(f"zero{settings['zero_optimization']['stage']}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"zero_optimization": {"stage": 1}}', r"file\.json has ZeRO stage 1, but training\.device\.zero_stage is 2"),
        ('{"zero_optimization": ', r"file\.json is no readable JSON file"),
        ("[]", r"file\.json is no readable JSON file"),
        (None, r"file\.json is no readable JSON file"),
    ],
)
def test_settings_that_cannot_be_are_named(tmp_path, content, message):
    file = tmp_path / "file.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    config = training_config(max_steps=1, zero_stage=2, deepspeed=str(file))
    with pytest.raises(UserError, match=message):
        start_engine(tiny_module(), config)


def test_settings_that_come_with_the_package_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = training_config(max_steps=1, zero_stage=2, deepspeed="recipes/deepspeed/zero1.json")
    with pytest.raises(UserError, match=r"zero1\.json has ZeRO stage 1"):
        start_engine(tiny_module(), config)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_odd_number_of_parameters_was_an_assertion_of_deepspeed(stage):
    """allgather_bucket_size must be a multiple of nccl_start_alignment_factor, 2."""
    start_processes(1)
    module = torch.nn.Linear(2, 1)
    assert sum(parameter.numel() for parameter in module.parameters()) == 3
    engine = start_engine(module, training_config(max_steps=1, zero_stage=stage))
    assert engine.zero_optimization_stage() == stage


def test_a_port_that_another_run_has_was_a_traceback(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        environment = {**clean_environment(), **ranks, "MASTER_PORT": str(taken.getsockname()[1])}
        command = "from cslm.errors import exit_with_status as run; from cslm.training.engine import start_processes; "
        done = subprocess.run(
            [sys.executable, "-c", command + "run(lambda: start_processes(1))"],
            capture_output=True, text=True, check=False, env=environment, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "is taken, by another run perhaps: give another one, deepspeed --master_port PORT" in done.stderr


def test_the_others_timed_out_while_one_machine_prepared_its_data():
    """Preparation takes twice as long here as collective operations wait."""
    assert "sum 3" in finish(start(2, "tests/training/run_slow_preparation.py"))
