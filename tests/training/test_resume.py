from __future__ import annotations

import json
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
import torch
from deepspeed import DeepSpeedEngine
from safetensors.torch import load_file

from cslm.errors import UserError, exit_with_status
from cslm.training.state import SavedState, TrainingState, find_latest, needs_universal
from cslm.training.stopping import StopSignal
from tests.training.processes import ROOT, finish, start
from tests.training.run_tiny import run

SCRIPT = "tests/training/run_tiny.py"


def curve(output):
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["grad_norm"], row["lr"], row["tokens"]) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    output = tmp_path_factory.mktemp("whole")
    run(output, 2, 8)
    return output


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_a_resumed_run_has_the_curve_of_the_uninterrupted_one(tmp_path, zero_stage, whole):
    run(tmp_path, zero_stage, 4)
    run(tmp_path, zero_stage, 8)
    found, expected = curve(tmp_path), curve(whole)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    if zero_stage == 2:  # the stage of the uninterrupted run: bit for bit
        assert found == expected
        weights, wanted = load_file(tmp_path / "w.safetensors"), load_file(whole / "w.safetensors")
        assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_a_run_with_its_states_on_the_cpu_resumes_too(tmp_path, zero_stage, whole):
    settings = str(ROOT / "recipes" / "deepspeed" / f"zero{zero_stage}_offload.json")
    run(tmp_path, zero_stage, 4, settings=settings)
    run(tmp_path, zero_stage, 8, settings=settings)
    for one, other in zip(curve(tmp_path), curve(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize(("zero_stage", "before", "after"), [(2, 2, 1), (3, 1, 2)])
def test_another_number_of_processes_goes_on_with_the_same_curve(tmp_path, whole, zero_stage, before, after):
    finish(start(before, SCRIPT, str(tmp_path), str(zero_stage), "5"))
    printed = finish(start(after, SCRIPT, str(tmp_path), str(zero_stage), "8"))
    assert "resuming from step 5" in printed
    for one, other in zip(curve(tmp_path), curve(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("*.universal*")) == []


def test_processes_that_share_the_work_of_muon_have_the_curve_of_one(tmp_path):
    finish(start(1, SCRIPT, str(tmp_path / "one"), "0", "5", "muon"))
    finish(start(2, SCRIPT, str(tmp_path / "two"), "0", "5", "muon"))
    for one, other in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    one, other = (load_file(tmp_path / name / "w.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-5, rtol=0)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, whole, monkeypatch):
    monkeypatch.setitem(os.environ, "KILL_AT_STEP", "5")
    finish(start(1, SCRIPT, str(tmp_path), "2", "8"), status=-9)
    monkeypatch.delitem(os.environ, "KILL_AT_STEP")
    assert curve(tmp_path)[-1][0] == 5
    half_written = tmp_path / "checkpoints" / ".step-00000006.being-written"
    half_written.mkdir()
    (tmp_path / "checkpoints" / ".latest.123.tmp").write_text("step-")
    run(tmp_path, 2, 8)
    assert curve(tmp_path) == curve(whole)
    assert [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_signal_to_one_process_saves_and_stops_all(tmp_path, whole, monkeypatch, world_size):
    monkeypatch.setitem(os.environ, "STOP_AT_STEP", "4")
    printed = finish(start(world_size, SCRIPT, str(tmp_path), "2", "8"), status=75)
    step = 4 + world_size  # several processes agree one step later
    assert f"stopped: a signal asked for it; step {step} is saved" in printed
    assert (tmp_path / "checkpoints" / "latest").read_text() == f"step-{step:08d}\n"
    assert not (tmp_path / "finished.json").exists()
    monkeypatch.delitem(os.environ, "STOP_AT_STEP")
    finish(start(world_size, SCRIPT, str(tmp_path), "2", "8"))
    for one, other in zip(curve(tmp_path), curve(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_ctrl_c_lost_all_steps_since_the_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "STOP_AT_STEP", "4")
    monkeypatch.setitem(os.environ, "STOP_BY", "SIGINT")
    printed = finish(start(1, SCRIPT, str(tmp_path), "2", "8"), status=75)
    assert "Ctrl+C: the run saves and stops after this step" in printed
    assert "step 5 is saved" in printed and "Traceback" not in printed
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-00000005\n"


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), StopSignal():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_only_the_newest_checkpoints_stay(whole):
    names = sorted(entry.name for entry in (whole / "checkpoints").glob("step-*"))
    assert names == ["step-00000006", "step-00000008"]
    assert (whole / "checkpoints" / "latest").read_text() == "step-00000008\n"
    assert json.loads((whole / "finished.json").read_text())["steps"] == 8


def test_stage_0_refuses_another_number_of_processes(tmp_path):
    saved = SavedState(tmp_path / "step-00000001", TrainingState(), world_size=2, zero_stage=0)
    assert not needs_universal(saved, 2, 0)
    with pytest.raises(UserError, match="no universal checkpoint for stage 0, so resume with 2 processes and stage 0"):
        needs_universal(saved, 1, 0)
    assert needs_universal(SavedState(tmp_path, TrainingState(), world_size=2, zero_stage=1), 1, 1)


def test_damaged_checkpoints_are_named(tmp_path):
    run(tmp_path, 2, 2)
    state = tmp_path / "checkpoints" / "step-00000002" / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    whole_file = state.read_bytes()
    state.write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(UserError, match="step-00000002: this checkpoint cannot be loaded"):
        run(tmp_path, 2, 4)
    (tmp_path / "checkpoints" / "step-00000002" / "state.json").unlink()
    with pytest.raises(UserError, match="damaged checkpoint"):
        find_latest(tmp_path)
    assert find_latest(tmp_path / "nowhere") is None


def test_a_checkpoint_of_another_vocabulary_is_refused(tmp_path):
    run(tmp_path, 2, 1, vocabulary="420 ids")
    with pytest.raises(UserError, match=r"was trained with another vocabulary \(420 ids\), this run has 9"):
        run(tmp_path, 2, 2, vocabulary="9 ids")


def test_a_full_disk_is_named_and_the_checkpoint_before_stays(tmp_path, monkeypatch, capsys):
    run(tmp_path, 2, 3)
    before = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())

    def full(self, *arguments, **names):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    monkeypatch.setattr(DeepSpeedEngine, "save_checkpoint", full)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(SystemExit) as left:
        exit_with_status(lambda: run(tmp_path, 2, 8))
    assert left.value.code == 1
    assert "error: No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == before
    monkeypatch.undo()
    run(tmp_path, 2, 8)
    assert curve(tmp_path)[-1][0] == 8


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can be mounted by root alone")
def test_a_disk_that_is_really_full(tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        with pytest.raises(SystemExit):
            exit_with_status(lambda: run(disk, 2, 3))
        assert "error: No space left on device" in capsys.readouterr().err
        assert find_latest(disk) is None
    finally:
        subprocess.run(["umount", str(disk)], check=True)
