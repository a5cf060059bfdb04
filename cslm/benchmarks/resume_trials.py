"""What resuming promises, tried through ``deepspeed recipes/pretrain.py``: ``python tools/bench_resume.py TRIAL``.

Each trial trains a small Llama from scratch on made-up text, in processes of its own, and gives rows of figures.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from cslm.benchmarks.process_environment import without_ranks

_ROOT = Path(__file__).resolve().parents[2]
_COLUMNS = ("loss", "grad_norm", "lr", "tokens")
_STEPS = 40


def kills(folder: Path, count: int = 10, seed: int = 0) -> dict[str, Any]:
    """Runs of two processes, one of which is killed at a random moment, taken up by one or two, beside runs left alone.

    The stages 1, 2 and 3 of ZeRO take turns. ``largest_difference`` is relative, over loss, gradient norm, rate and
    tokens of every step.
    """
    chance = random.Random(seed)
    config = _write_recipe(folder)
    whole, lasted = {}, {}
    for stage in (1, 2, 3):
        seconds = _launch(config, folder / f"whole{stage}", 2, stage)
        whole[stage], lasted[stage] = _curve(folder / f"whole{stage}"), seconds
    rows: list[dict[str, Any]] = []
    for number in range(count):
        stage, output = 1 + number % 3, folder / f"killed{number}"
        # From the first step on: what comes before writes nothing.
        killed, after_sec = None, chance.uniform(0, lasted[stage])
        while killed is None:  # a run that was faster than the one left alone has ended: try it sooner
            shutil.rmtree(output, ignore_errors=True)
            killed, after_sec = _kill_one(config, output, stage, chance, after_sec), after_sec * 0.7
        at, processes = len(_curve(output)), chance.choice((1, 2))
        _launch(config, output, processes, stage)
        rows.append({"stage": stage, "killed": killed, "killed_after_step": at, "resumed_by": processes,
                     "largest_difference": _difference(_curve(output), whole[stage])})  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return {"rows": rows, "largest_difference": max(row["largest_difference"] for row in rows)}


def position(folder: Path, far: int = 1_000_000, repeats: int = 3) -> dict[str, Any]:
    """Seconds from the command to the first new step, resumed at document slot 10 and at ``far``, in turn."""
    config = _write_recipe(folder)
    begun = folder / "begun"
    _launch(config, begun, 1, 1, "--training.max_steps", "2")
    seconds: dict[int, list[float]] = {10: [], far: []}
    for number in range(repeats):
        for slot, found in seconds.items():
            output = folder / f"resumed{number}-{slot}"
            shutil.copytree(begun, output)
            state = output / "checkpoints" / "step-00000002" / "state.json"
            facts = json.loads(state.read_text(encoding="utf-8"))
            state.write_text(json.dumps({**facts, "position": {"slot": slot}}), encoding="utf-8")
            (output / "finished.json").unlink()
            found.append(_until_step(config, output, 3))
            print(json.dumps({"slot": slot, "seconds": found[-1]}), flush=True)
    return {
        "rows": [{"slot": slot, "seconds": found} for slot, found in seconds.items()],
        "first_step_sec": {slot: statistics.median(found) for slot, found in seconds.items()},
        "data_sec": {slot: _data_sec(config, folder, slot) for slot in seconds},
    }


TRIALS: dict[str, Callable[[Path], dict[str, Any]]] = {"kills": kills, "position": position}


def _write_recipe(folder: Path) -> Path:
    chance = random.Random(0)
    words = ["".join(chance.choice("bdfgklmnprst") + chance.choice("aeiou") for _ in range(3)) for _ in range(300)]
    texts = [" ".join(chance.choices(words, k=chance.randint(5, 60))) for _ in range(3000)]
    rows = [{"id": str(number), "language": "en", "text": text} for number, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "data_root": str(folder),
        "output": "unused",
        "model": {"architecture": {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
                                   "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}},
        "text_tokenizer": {"vocab_size": 900, "texts": ["texts.jsonl"], "languages": ["en"]},
        "sources": {"text": {"task": "text", "documents": "texts.jsonl", "weight": 1.0}},
        "training": {"max_tokens": _STEPS * 1500, "tokens_per_step": 1500, "tokens_per_micro_batch": 600,
                     "max_length": 256, "learning_rate": 3e-3, "log_every": 1, "checkpoints": {"save_every": 4},
                     "device": {"num_threads": 1, "peak_tflops": 1.0}},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def _command(config: Path, output: Path, processes: int, stage: int, *more: str) -> subprocess.Popen[str]:
    launcher = Path(sys.executable).with_name("deepspeed")
    arguments = ["--config", str(config), "--output", str(output), "--training.device.zero_stage", str(stage), *more]
    command = [str(launcher), "--num_accelerators", str(processes), str(_ROOT / "recipes" / "pretrain.py"), *arguments]
    output.mkdir(exist_ok=True)
    (output / ".environment").mkdir(exist_ok=True)  # where the launcher looks for its own settings
    return subprocess.Popen(
        command, cwd=output / ".environment", env={**without_ranks(), "PYTHONPATH": str(_ROOT)}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def _launch(config: Path, output: Path, processes: int, stage: int, *more: str) -> float:
    """Train to the end; seconds from the first step to the last."""
    process = _command(config, output, processes, stage, *more)
    errors = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"training stopped with status {process.returncode}: {errors[-3000:]}")
    begun = min(int(path.name.split(".")[3]) for path in (output / "tensorboard").iterdir())
    return max(1.0, (output / "metrics.jsonl").stat().st_mtime - begun)


def _kill_one(config: Path, output: Path, stage: int, chance: random.Random, after_sec: float) -> str | None:
    """Start, kill one training process after so long, wait for the launcher; which rank, None if none was left."""
    process = _command(config, output, 2, stage)
    while not (output / "tensorboard").is_dir() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(after_sec)
    training = [child for child in psutil.Process(process.pid).children(recursive=True) if _rank_of(child)]
    rank = None
    if training:
        chosen = chance.choice(sorted(training, key=lambda child: child.pid))
        rank = _rank_of(chosen)
        chosen.send_signal(signal.SIGKILL)
    process.communicate()
    return rank if process.returncode else None


def _rank_of(process: psutil.Process) -> str | None:
    """The rank of a training process as it was given; None for the launcher's own, and for one that has ended."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return None
    launches = any("launch" in part for part in command)
    return None if launches else next((part for part in command if part.startswith("--local_rank")), None)


def _until_step(config: Path, output: Path, step: int) -> float:
    """Seconds from the command until the log has ``step``; the run is ended then."""
    began = time.perf_counter()
    process = _command(config, output, 1, 1)
    while process.poll() is None and not any(row["step"] >= step for row in _rows(output)):
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return seconds


def _data_sec(config: Path, folder: Path, slot: int) -> float:
    """Seconds to open the sources and to make the first step at a slot, in a process of its own."""
    script = (
        "import sys, time; from cslm.configuration import load_configuration\n"
        "from cslm.training.pretrain import PretrainConfig; from cslm.training.run_data import open_data\n"
        "config = load_configuration(PretrainConfig, sys.argv[1], '--output=' + sys.argv[2])\n"
        "began = time.perf_counter(); open_data(config).stream.step({'slot': int(sys.argv[3])})\n"
        "print(time.perf_counter() - began)"
    )
    arguments = [str(config), str(folder / "begun"), str(slot)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _rows(output: Path) -> list[dict[str, Any]]:
    path = output / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _curve(output: Path) -> list[list[float]]:
    return [[row[name] for name in _COLUMNS] for row in _rows(output)]


def _difference(found: list[list[float]], wanted: list[list[float]]) -> float:
    """Largest relative difference; infinite where steps are missing or stand there twice."""
    if len(found) != len(wanted):
        return float("inf")
    pairs = zip((value for row in found for value in row), (value for row in wanted for value in row), strict=True)
    return max(abs(one - other) / max(abs(other), 1e-12) for one, other in pairs)
