"""The batch script for Slurm on this machine: ``srun`` and ``scontrol`` are stand-ins that start and record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deepspeed.launcher.runner import fetch_hostfile

from cslm.errors import STOPPED_STATUS
from tests.docs.pages import commands
from tests.training.processes import ROOT, clean_environment, free_port
from tests.worlds.tiny_world import make_world, text_lm_config, write_config

FOLDER = ROOT / "recipes" / "multi_node"
SRUN = """#!/usr/bin/env bash
while [ "${1#--}" != "$1" ]; do shift; done  # options of srun
for task in $(seq 0 $((SLURM_NTASKS - 1))); do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & pids[task]=$!; done
worst=0
for pid in "${pids[@]}"; do wait "$pid" || { code=$?; [ "$code" -le "$worst" ] || worst=$code; }; done
exit "$worst"
"""
SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then printf '127.0.0.1\\nanother\\n'; else echo "$*" >> "$SCONTROL_LOG"; fi
"""


@pytest.fixture
def slurm(tmp_path):
    """Runs the script as a job of two tasks; returns its status and what it printed."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(*arguments, **variables):
        python = Path(sys.executable).parent
        environment = clean_environment() | {
            "PATH": f"{tmp_path / 'bin'}:{python}:{os.environ['PATH']}", "SCONTROL_LOG": str(tmp_path / "requeued"),
            "SLURM_JOB_ID": str(free_port() - 20000), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "2", **variables,
        }  # fmt: skip
        command = ["bash", str(FOLDER / "slurm.sh"), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
        return done.returncode, done.stdout + done.stderr

    return run


def test_two_tasks_pretrain_as_one_run(slurm, tmp_path):
    root = make_world(tmp_path / "world")
    config = write_config(root / "text_lm.yaml", text_lm_config(root))
    status, printed = slurm("recipes/pretrain.py", "--config", str(config), "--training.max_steps", "2")
    assert status == 0, printed
    assert (root / "text_lm" / "model.safetensors").is_file()
    latest = (root / "text_lm" / "checkpoints" / "latest").read_text().strip()
    state = json.loads((root / "text_lm" / "checkpoints" / latest / "state.json").read_text())
    assert state["world_size"] == 2 and not (tmp_path / "requeued").exists()


def test_a_signal_puts_the_job_back_into_the_queue_and_it_goes_on(slurm, tmp_path):
    script = ("tests/training/run_tiny.py", str(tmp_path), "2", "6")
    status, printed = slurm(*script, STOP_AT_STEP="2")
    assert status == STOPPED_STATUS, printed
    assert (tmp_path / "requeued").read_text().startswith("requeue ")
    status, printed = slurm(*script)
    assert status == 0 and "resuming from step 4" in printed  # two processes agree one step later
    assert (tmp_path / "requeued").read_text().count("requeue") == 1


def test_another_failure_is_not_queued_again(slurm, tmp_path):
    status, printed = slurm("recipes/pretrain.py", "--config", "nowhere.yaml")
    assert status == 2 and "nowhere.yaml" in printed
    assert not (tmp_path / "requeued").exists()


def test_the_script_knows_the_status_of_a_stopped_run():
    text = (FOLDER / "slurm.sh").read_text(encoding="utf-8")
    assert f"\nstopped={STOPPED_STATUS} " in text and "#SBATCH --signal=USR1@300\n" in text


def test_the_list_of_hosts_is_one_for_deepspeed():
    assert fetch_hostfile(str(FOLDER / "hosts")) == {"node1": 8, "node2": 8}


def test_commands_of_the_page_name_what_exists():
    started = [command.words for command in commands("docs/many_machines.md") if "recipes/multi_node" in command.line]
    assert [words[0] for words in started] == ["deepspeed", "sbatch", "sbatch"]
    for words in started:
        paths = [word for word in words if word.startswith("recipes/")]
        assert len(paths) == 3 and all((ROOT / path).is_file() for path in paths)
