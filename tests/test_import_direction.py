"""The folders are the way of the data: a module imports its own folder or folders to its left, never to its right."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ["audio", "corpora", "units", "decoder", "sequences", "batches", "model"]
STAGES += ["training", "generation", "evaluation"]
ROOT_MODULES = {"errors": set(), "configuration": {"errors"}}
FREE = {"__init__", "cli"}
MODULES = sorted((ROOT / "cslm").rglob("*.py"))


def imported_names(path: Path, source: str) -> Iterator[str]:
    """Dotted names below cslm that a module imports, lazily too, or names in a dictionary of ``module:Class``."""
    package = ("cslm", *path.relative_to(ROOT / "cslm").parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^cslm(?:\.\w+)+(?=:\w+$|$)", node.value)


def forbidden(path: Path, source: str) -> list[str]:
    """The imports of a module that its place does not allow."""
    first = path.relative_to(ROOT / "cslm").parts[0].removesuffix(".py")
    wrong = []
    for name in imported_names(path, source):
        parts = name.split(".")
        if parts[0] != "cslm" or first in FREE:
            continue
        target = parts[1] if len(parts) > 1 else ""
        if first in ROOT_MODULES:
            allowed = target in ROOT_MODULES[first]
        elif target in STAGES:
            leftwards = STAGES.index(target) < STAGES.index(first) and target != "training"
            allowed = target == first or leftwards
        else:
            allowed = target in ROOT_MODULES or target == "__version__"
        if not allowed:
            wrong.append(name)
    return wrong


def test_imports_point_left():
    wrong = {str(path.relative_to(ROOT)): forbidden(path, path.read_text(encoding="utf-8")) for path in MODULES}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("folder", "line", "allowed"),
    [
        ("units", "from cslm.audio.waveform import load_waveform", True),
        ("units", "from cslm.units.card import Card", True),
        ("units", "from .card import Card", True),
        ("units", "from cslm.errors import UserError", True),
        ("units", "import cslm.model.loss", False),
        ("units", "from cslm import model", False),
        ("units", "from ..model import loss", False),
        ("units", "def later():\n    from cslm.model import loss", False),
        ("units", "FAMILIES = {'x': 'cslm.decoder.x:X'}", False),
        ("units", "from cslm import CSLMForCausalLM", False),
        ("units", "from cslm.cli import run", False),
        ("evaluation", "from cslm.training.loop import train", False),
        ("evaluation", "from cslm.generation.modeling import CSLMForCausalLM", True),
    ],
)
def test_the_rule_itself(folder, line, allowed):
    assert (forbidden(ROOT / "cslm" / folder / "invented.py", line) == []) is allowed


def test_folders_are_the_stages():
    folders = {path.name for path in (ROOT / "cslm").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(STAGES)


def test_tests_mirror_the_package():
    mirrored = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert mirrored - {"golden", "recipes", "tools"} <= set(STAGES)


def test_tokenizers_is_never_importable():
    assert not list((ROOT / "tokenizers").rglob("*.py"))
