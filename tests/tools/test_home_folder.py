"""A ``~`` in an argument of a tool, where no shell has expanded it: ``--json=~/FILE``, or in quotes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_home_folder_was_taken_for_a_folder_named_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / ".stages").mkdir(parents=True)
    (tmp_path / "run" / "results.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["record_seconds.py", "~/run", "--seed", "3"])
    runpy.run_path(str(ROOT / "tools" / "record_seconds.py"), run_name="__main__")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["seed"] == 3


def test_no_tool_reads_a_path_as_it_is_written() -> None:
    files = [*(ROOT / "tools").glob("*.py"), ROOT / "cslm" / "benchmarks" / "claims" / "measure_claim.py"]
    assert [path.name for path in files if "type=Path" in path.read_text(encoding="utf-8")] == []
