from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cslm.model.flops import model_flops
from cslm.training.device_limits import known_peak, peak_flops, peak_memory
from cslm.training.engine import start_processes
from cslm.training.loop import train
from cslm.training.training_config import DeviceConfig
from cslm.training.work_meter import WorkMeter
from tests.training.processes import ROOT, clean_environment, finish, start
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_models import packed_row
from tests.worlds.tiny_stream import TinyStream, tiny_module

CPU = torch.device("cpu")
DEVICE = DeviceConfig(peak_tflops=2e-3)


def test_operations_and_slots_of_a_window():
    start_processes(1)
    module = tiny_module()
    meter = WorkMeter(module, DEVICE, CPU)
    rows = [packed_row([5, 9]), packed_row([30])]
    meter.add(rows)
    meter.add(rows[:1])
    work = meter.result()
    costs = model_flops(module.model)
    targets = [row.num_targets for row in rows]
    assert work.flops == 2 * costs.step([5, 9], targets[0]) + costs.step([30], targets[1])
    assert work.slots == 14 + 30 + 14
    assert work.peak_flops == 2e9
    assert work.mfu(3.0) == pytest.approx(work.flops / 3 / 2e9)
    assert work.waiting(58) == 0.0 and work.waiting(29) == 0.5
    meter.add(rows[:1])
    assert meter.result().slots == 14


def test_a_module_that_is_no_language_model_has_no_share_of_the_peak():
    start_processes(1)
    meter = WorkMeter(nn.Linear(2, 2), DEVICE, CPU)
    meter.add([SimpleNamespace(num_slots=21)])
    work = meter.result()
    assert work.slots == 21 and work.mfu(1.0) is None


def test_rows_of_two_processes_wait_for_the_longer(tmp_path):
    """The tiny stream's rows have 18, 21, 24 and 27 tokens; two processes take every second one."""
    processes = start(2, "-m", "tests.training.run_tiny", str(tmp_path / "two"), "2", "2")
    finish(processes)
    rows = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [row["waiting"] for row in rows] == [pytest.approx(1 - 90 / (2 * (21 + 27)), abs=1e-5)] * 2
    assert all(0 < row["mfu"] < 1 and row["peak_memory_gib"] > 0.1 for row in rows)


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_shards_count_as_the_whole_model(tmp_path, monkeypatch, zero_stage):
    """Under ZeRO-3 the weights are empty between the layers; their operations are the same."""
    seen = []
    monkeypatch.setattr(WorkMeter, "result", lambda self, plain=WorkMeter.result: seen.append(plain(self)) or seen[-1])
    config = training_config(max_steps=1, tokens_per_step=100, zero_stage=zero_stage, num_threads=1)
    train(tiny_module(), TinyStream(), config, tmp_path, lambda weights, folder: None)
    costs = model_flops(tiny_module().model)
    rows = TinyStream().rows(0)
    assert seen[0].flops == sum(costs.step([5 + 3 * i, 9, 4], rows[i].num_targets) for i in range(4))


def test_gpus_by_name():
    assert known_peak("NVIDIA A100-SXM4-80GB") == 312e12
    assert known_peak("NVIDIA H100 80GB HBM3") == 989.4e12
    assert known_peak("NVIDIA H100 PCIe") == 756e12
    assert known_peak("NVIDIA L4") == 121e12 and known_peak("NVIDIA L40S") == 362.05e12
    assert known_peak("AMD Instinct MI300X") == 1307.4e12
    assert known_peak("NVIDIA L40") is None and known_peak("NVIDIA GeForce GTX 1080") is None


def test_the_peak_of_a_cpu_is_measured_and_one_that_is_given_wins():
    assert 1e8 < peak_flops(DeviceConfig(), CPU) < 1e14
    assert peak_flops(DeviceConfig(peak_tflops=3.0), CPU) == 3e12


def test_memory_of_a_process_is_its_own():
    code = "import torch; from cslm.training.device_limits import peak_memory as p; before = p(torch.device('cpu')); " \
        "x = torch.ones(64 << 20); print(p(torch.device('cpu')) - before)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(ROOT),
                          env=clean_environment())  # fmt: skip
    assert 240 < int(done.stdout) / 2**20 < 300
    assert peak_memory(CPU) > 0
