"""The folders are the way of the data: a module imports its own folder or those above it, never below, never round."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = [
    "files",
    "audio",
    "encoders",
    "corpora",
    "village",
    "codecs",
    "units",
    "sequences",
    "batches",
    "model",
    "decoder",
]
STAGES += ["training", "planning", "generation", "evaluation", "synthesis", "publishing", "serving", "benchmarks"]
MAY_IMPORT_TRAINING = {"training", "planning", "benchmarks"}
ROOT_MODULES = {
    "errors": set(),
    "ranges": {"errors"},
    "mistyped": set(),
    "section_checks": {"errors", "mistyped"},
    "configuration": {"errors", "mistyped", "section_checks", "files"},
    "chosen_section": {"errors"},
}
FREE = {"__init__", "__main__", "cli"}
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
            above = STAGES.index(target) <= STAGES.index(first)
            allowed = above and (target != "training" or first in MAY_IMPORT_TRAINING)
        else:
            allowed = target in ROOT_MODULES or target == "__version__"
        if not allowed:
            wrong.append(name)
    return wrong


def file_of(name: str) -> Path | None:
    """The file that a dotted name stands in, if it is one of ours: a module, or what a module holds."""
    parts = name.split(".")
    for count in (len(parts), len(parts) - 1):
        path = ROOT.joinpath(*parts[:count]).with_suffix(".py")
        if path.is_file():
            return path
    return None


def circles(arrows: dict[Path, set[Path]]) -> list[list[Path]]:
    """The groups of files each of which leads to every other of its group, two or more."""
    reached = {start: _reached(start, arrows) for start in arrows}
    groups = {frozenset(other for other in reached[start] if start in reached[other]) for start in arrows}
    return [sorted(group) for group in groups if group]


def _reached(start: Path, arrows: dict[Path, set[Path]]) -> set[Path]:
    found: set[Path] = set()
    open_files = list(arrows.get(start, ()))
    while open_files:
        file = open_files.pop()
        if file not in found:
            found.add(file)
            open_files += arrows.get(file, ())
    return found


def test_imports_point_up():
    wrong = {str(path.relative_to(ROOT)): forbidden(path, path.read_text(encoding="utf-8")) for path in MODULES}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_no_two_files_import_each_other_in_a_circle():
    """Not for types either: what stands under TYPE_CHECKING counts."""
    arrows = {}
    for path in MODULES:
        found = {file_of(name) for name in imported_names(path, path.read_text(encoding="utf-8"))}
        arrows[path] = {file for file in found if file not in (None, path)}
    assert [[str(path.relative_to(ROOT)) for path in circle] for circle in circles(arrows)] == []


def test_a_circle_is_found():
    a, b, c, d = (Path(name) for name in "abcd")
    assert circles({a: {b}, b: {c}, c: {a}, d: {a}}) == [[a, b, c]]
    assert circles({a: {b}, b: {c}, c: set(), d: {a}}) == []


@pytest.mark.parametrize(
    ("folder", "line", "allowed"),
    [
        ("units", "from cslm.audio.waveform import load_waveform", True),
        ("units", "from cslm.units.store import UnitStore", True),
        ("units", "from .store import UnitStore", True),
        ("units", "from cslm.codecs.card import Card", True),
        ("codecs", "from cslm.units.store import UnitStore", False),
        ("units", "from cslm.errors import UserError", True),
        ("units", "import cslm.model.loss", False),
        ("units", "from cslm import model", False),
        ("units", "from ..model import loss", False),
        ("units", "def later():\n    from cslm.model import loss", False),
        ("codecs", "FAMILIES = {'x': 'cslm.decoder.x:X'}", False),
        ("units", "from cslm import CSLMForCausalLM", False),
        ("units", "from cslm.cli import run", False),
        ("evaluation", "from cslm.training.loop import train", False),
        ("generation", "from cslm.training.loop import train", False),
        ("planning", "from cslm.training.loop import train", True),
        ("benchmarks", "from cslm.training.loop import train", True),
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
    assert mirrored - {"docs", "golden", "recipes", "tools", "worlds"} <= set(STAGES)


def test_tokenizers_is_never_importable():
    assert not list((ROOT / "tokenizers").rglob("*.py"))
