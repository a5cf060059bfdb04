"""Sizes and names that keep the code readable (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for folder in ("cslm", "tools", "recipes") for path in (ROOT / folder).rglob("*.py"))
SCRIPTS = [path for path in MODULES if path.parent.name in ("tools", "recipes")]
LIBRARIES = {"datasets", "evaluate", "tokenizers", "transformers", "torch", "numpy", "types", "queue", "random"}


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    """Every syntax node of the given kinds, with the file it stands in."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds):
                yield path, node


def test_modules_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path.name: length for path, length in lengths.items() if length > 350} == {}


def test_functions_are_short():
    found = [(path.name, node.name, node.end_lineno - node.lineno + 1) for path, node in nodes(ast.FunctionDef)]
    assert [item for item in found if item[-1] > 60] == []


def test_no_drawer_for_odds_and_ends():
    assert [path for path in MODULES if path.stem in {"utils", "common", "base", "helpers", "misc"}] == []


def test_every_setting_has_its_sentence():
    """A string stands under each field of a configuration: ``--help`` prints it."""
    silent = []
    for path, node in nodes(ast.ClassDef):
        if not node.decorator_list or not node.name.endswith(("Config", "Options")):
            continue
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and not told:
                silent.append(f"{path.name}: {node.name}.{ast.unparse(field.target)}")
    assert silent == []


def test_scripts_are_thin():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SCRIPTS}
    assert {path.name: length for path, length in lengths.items() if length > 40} == {}


def test_scripts_hide_no_library():
    """The folder of a script is first on ``sys.path``."""
    assert [path.name for path in SCRIPTS if path.stem in LIBRARIES] == []


def test_no_folder_beside_a_script_hides_a_library_or_the_package():
    """``recipes/cslm`` once stood in place of the package for every script in ``recipes/``."""
    folders = [path.name for top in ("recipes", "tools") for path in (ROOT / top).iterdir() if path.is_dir()]
    assert [name for name in folders if name in LIBRARIES | {"cslm"}] == []
