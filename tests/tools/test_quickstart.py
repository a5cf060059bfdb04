"""tools/quickstart.sh and tools/test.sh as shell programs: a copy of them over stages that do nothing but say so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["prepare_corpus", "fit_tokenizer", "tokenize_corpus", "text_lm", "pretrain", "train_decoder", "finetune"]
STAGES += ["score", "respond", "report"]

# Every stage is this: it notes that it ran, and fails once where a file says so.
PRETEND = """
import json, pathlib, sys
name = pathlib.Path(sys.argv[0]).stem
given = dict(zip(sys.argv, sys.argv[1:] + [""]))
output = pathlib.Path(given.get("--output", sys.argv[2] if name == "prepare_corpus" else ""))
with open("ran.txt", "a") as ran:
    print(" ".join([name, *sys.argv[1:]]), file=ran)
trouble = pathlib.Path("trouble_" + name)
if name == "answer_village_questions":
    pathlib.Path(sys.argv[3]).mkdir(exist_ok=True)
elif name != "report":
    output.parent.mkdir(parents=True, exist_ok=True)
    output.mkdir(exist_ok=True) if not output.suffix else output.write_text("{}")
if trouble.exists():
    trouble.unlink()
    sys.exit(3)
"""
PYTHON = """#!/bin/bash
if [ "$1 $2" = "-m pip" ]; then echo "pip ${*:3}" >>"$PIP_LOG"; exit 0; fi
if [ "$1 $2" = "-m pytest" ]; then echo "pytest ${*:3}" >>"$PIP_LOG"; exit "${PYTEST_STATUS:-0}"; fi
exec REAL "$@"
"""
LAUNCHER = """#!/bin/bash
shift 5
exec python "$@"
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout whose stages pretend, and environments whose pip and pytest pretend."""
    for name in ("setup.cfg", "constraints", "tools"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for path in [*(ROOT / "tools").glob("*.py"), *(ROOT / "recipes").glob("*.py")]:
        if path.name != "record_seconds.py":
            script(tmp_path / path.relative_to(ROOT), PRETEND)
    (tmp_path / "recipes" / "village" / "small").mkdir(parents=True)
    (tmp_path / "recipes" / "village" / "full").mkdir()
    for environment in (".venv", ".venv-test/latest", ".venv-test/fairseq2"):
        script(tmp_path / environment / "bin" / "python", PYTHON.replace("REAL", sys.executable))
        script(tmp_path / environment / "bin" / "deepspeed", LAUNCHER)
        for tool in ("ruff", "mypy", "shellcheck"):
            script(tmp_path / environment / "bin" / tool, f'#!/bin/bash\necho "{tool}" >>"$PIP_LOG"\n')
    return tmp_path


def run(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "tools/quickstart.sh", *arguments]
    return launch(checkout, command, **environment)


def launch(checkout: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"PIP_LOG": str(checkout / "pip.txt")} | environment
    command = [*command, "--python", sys.executable] if "--python" not in command else command
    return subprocess.run(
        command, cwd=checkout, env=variables, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def ran(checkout: Path) -> list[str]:
    """The stages that ran since the last call."""
    path = checkout / "ran.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_every_stage_in_order_and_never_twice(checkout):
    done = run(checkout)
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in ran(checkout)]
    assert names == [*STAGES[:3], "pretrain", "pretrain", *STAGES[5:8], "answer_village_questions", "report"]
    results = json.loads((checkout / "runs/village/results.json").read_text())
    assert set(results["seconds"]) == {"install", *STAGES, "total"}
    assert results["seed"] == 0 and results["cores"] >= 1
    assert results["seconds"]["total"] == pytest.approx(sum(results["seconds"][name] for name in ["install", *STAGES]))
    last = done.stdout.splitlines()[-1]
    assert "cslm serve runs/village/finetune" in last and "http://127.0.0.1:8000/" in last

    again = run(checkout)
    assert again.returncode == 0
    assert ran(checkout) == []
    assert json.loads((checkout / "runs/village/results.json").read_text()) == results


def test_the_seed_and_the_size_reach_the_stages(checkout):
    assert run(checkout, "runs/other", "--size", "full", "--seed", "7").returncode == 0
    lines = ran(checkout)
    assert lines[0] == "prepare_corpus village runs/other/corpus --size full --seed 7"
    assert all("recipes/village/full/" in line for line in lines if "--config" in line)
    assert all(
        "--training.seed 7" in line for line in lines if line.startswith(("pretrain", "finetune", "train_decoder"))
    )


@pytest.mark.skipif(any(Path(it).exists() for it in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")), reason="a GPU is here")
def test_the_launcher_warned_that_it_found_no_accelerator(checkout):
    script(
        checkout / ".venv/bin/deepspeed",
        LAUNCHER.replace("shift 5", 'echo "told $DS_ACCELERATOR $1" >>"$PIP_LOG"\nshift 5'),
    )
    assert run(checkout, DS_ACCELERATOR="").returncode == 0
    told = [line for line in (checkout / "pip.txt").read_text().splitlines() if line.startswith("told")]
    assert told == ["told cpu --quiet"] * 4


def test_an_interrupted_run_goes_on_where_it_stopped(checkout):
    (checkout / "trouble_train_decoder").touch()
    stopped = run(checkout)
    assert stopped.returncode == 3
    assert "train_decoder stopped" in stopped.stderr
    ran(checkout)
    assert run(checkout).returncode == 0
    assert ran(checkout)[0].startswith("train_decoder ")


def test_a_failure_among_the_answers_stops_the_run(checkout):
    (checkout / "trouble_answer_village_questions").touch()
    assert run(checkout).returncode == 3
    assert not (checkout / "runs/village/.stages/respond.json").exists()


@pytest.mark.parametrize("other", [["--seed", "1"], ["--size", "full"]])
def test_another_run_in_the_same_folder_is_refused(checkout, other):
    assert run(checkout).returncode == 0
    ran(checkout)
    refused = run(checkout, *other)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "runs/village" in refused.stderr
    assert ran(checkout) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--size", "medium"], "medium"),
        (["--seed", "x"], "'x'"),
        (["--sede", "1"], "--sede"),
        (["a", "b"], "two output folders"),
        (["--python", "python3.99"], "python3.99"),
        (["tools"], "not empty"),
    ],
)
def test_slips_are_one_line(checkout, arguments, named):
    refused = run(checkout, *arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1 and named in refused.stderr
    assert ran(checkout) == []


def test_the_compiler_is_checked_first(checkout):
    refused = run(checkout, CXX="no-such-compiler")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "apt-get install g++" in refused.stderr
    assert not (checkout / "runs").exists()


def test_a_relative_folder_belongs_to_where_one_stands(checkout, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    command = ["bash", str(checkout / "tools" / "quickstart.sh"), "mine", "--python", sys.executable]
    variables = os.environ | {"PIP_LOG": str(checkout / "pip.txt")}
    subprocess.run(command, cwd=elsewhere, env=variables, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert (elsewhere / "mine" / "results.json").exists()


def test_installs_once_and_with_the_constraints(checkout):
    assert run(checkout, "--index_url", "https://example.org/simple").returncode == 0
    calls = [line for line in (checkout / "pip.txt").read_text().splitlines() if " install " in line]
    assert len(calls) == 2
    assert "--index-url https://example.org/simple torch" in calls[0]
    assert "--extra-index-url https://example.org/simple --editable .[tts,ear,serve]" in calls[1]
    assert all("--constraint .venv/constraints.txt" in call for call in calls)
    assert run(checkout).returncode == 0
    assert (checkout / "pip.txt").read_text().count(" install ") == 2


def test_a_torch_that_fits_stays(checkout):
    """The environment of the tests has one: the constraint becomes its version."""
    assert run(checkout).returncode == 0
    from importlib.metadata import version

    assert f"torch=={version('torch')}" in (checkout / ".venv" / "constraints.txt").read_text().splitlines()


def test_the_suite_runs_on_both_stacks(checkout):
    done = launch(checkout, ["bash", "tools/test.sh"])
    assert done.returncode == 0, done.stderr
    calls = (checkout / "pip.txt").read_text().splitlines()
    tools = [call.split()[0] for call in calls if not call.startswith("pip")]
    assert tools == ["ruff", "ruff", "mypy", "shellcheck", "pytest", "pytest"]
    installed = [call for call in calls if " install " in call]
    assert installed[0].endswith(".[dev]") and "fairseq2" in installed[1]
    pinned = (checkout / ".venv-test" / "fairseq2" / "constraints.txt").read_text()
    assert "torch==2.9.1" in pinned.splitlines()


def test_one_stack_alone_and_the_worst_status(checkout):
    done = launch(checkout, ["bash", "tools/test.sh", "--stack", "fairseq2"], PYTEST_STATUS="4")
    assert done.returncode == 4
    assert "ruff" not in (checkout / "pip.txt").read_text()
    assert launch(checkout, ["bash", "tools/test.sh", "--stack", "newest"]).returncode == 2
