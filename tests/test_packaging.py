"""The wheel carries what is not Python (wordings, tables, recipes' YAML, settings, cards), and finds it where it is."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import cslm
from cslm.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def metadata() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg")
    return parsed


def test_versions_agree(metadata):
    assert metadata["metadata"]["version"] == cslm.__version__ == version("cslm")


SHIPPED = [path for top in ("recipes", "tokenizers") for path in sorted((ROOT / top).rglob("*.yaml"))]
SHIPPED += sorted((ROOT / "recipes" / "deepspeed").glob("*.json"))
SHIPPED += [ROOT / "recipes" / "multi_node" / name for name in ("hosts", "slurm.sh")]


def test_every_yaml_of_recipes_and_tokenizers_is_a_data_file(metadata):
    listed = set()
    for folder, patterns in metadata["options.data_files"].items():
        for pattern in patterns.split():
            assert folder == f"share/cslm/{Path(pattern).parent}"
            listed |= set(ROOT.glob(pattern))
    assert set(SHIPPED) <= listed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "cslm", "recipes", "tokenizers"):
        (copy / name).symlink_to(ROOT / name)
    build = "import setuptools.build_meta as backend, sys; print(backend.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=copy, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_the_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "cslm").rglob("*.yaml")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "cslm").rglob("*.py")} | {"cslm/py.typed"}
    expected |= {f"cslm-{cslm.__version__}.data/data/share/cslm/{path.relative_to(ROOT)}" for path in SHIPPED}
    assert expected <= names
    assert not [name for name in names if name.startswith(("tests", "tools", "tokenizers"))]


# What an installation prints of itself: where it is, which of the files that it was given it finds, and its verbs.
FINDS = """
import json, sys
from importlib.resources import files
import cslm
from cslm.codecs.card import load_card
from cslm.files.shipped_files import find_shipped
given = json.load(sys.stdin)
print(json.dumps({
    "package": cslm.__file__,
    "cards": [load_card(name).path.stem for name in given["cards"]],
    "files": [name for name in given["files"] if find_shipped(name) is not None],
    "data": [name for name in given["data"] if files("cslm").joinpath(name).is_file()],
}))
"""
HELPS = """
import contextlib, io, json
from cslm.cli import VERBS, dispatch
told = {}
for verb in VERBS:
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        dispatch([verb, "--help"])
    told[verb] = page.getvalue()
print(json.dumps(told))
"""


def install(wheel: Path, *where: str, python: str = sys.executable) -> None:
    """Without its dependencies, and without a network."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", "--no-compile", "--ignore-installed", *where, str(wheel)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def run_away(folder: Path, command: list[str], given: str = "", **environment: str) -> str:
    """What a command prints that runs outside the checkout."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    away = folder / "away"
    away.mkdir(exist_ok=True)
    done = subprocess.run(
        command, cwd=away, env={**plain, **environment}, input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_finds(folder: Path, package: Path, python: str = sys.executable, **environment: str) -> None:
    """An installation whose package is below ``package`` finds all that came with it."""
    cards = [path.stem for path in sorted((ROOT / "tokenizers").glob("*.yaml"))]
    files = [str(path.relative_to(ROOT)) for path in SHIPPED]
    data = [str(path.relative_to(ROOT / "cslm")) for path in sorted((ROOT / "cslm").rglob("*.yaml"))]
    given = json.dumps({"cards": cards, "files": files, "data": data})
    told = json.loads(run_away(folder, [python, "-c", FINDS], given, **environment))
    assert Path(told.pop("package")) == package / "cslm" / "__init__.py"
    assert told == {"cards": cards, "files": files, "data": data}
    assert "sequences/wordings.yaml" in data and "recipes/village/small/pretrain.yaml" in files


def test_an_environment_of_its_own(wheel, tmp_path):
    """What this environment holds stands in for the dependencies."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    install(wheel, python=python)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "venv")}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    check_finds(tmp_path, packages, python)
    version_line = f"cslm {cslm.__version__}\n"
    assert run_away(tmp_path, [str(tmp_path / "venv" / "bin" / "cslm"), "--version"]) == version_line
    assert run_away(tmp_path, [python, "-m", "cslm", "--version"]) == version_line
    pages = json.loads(run_away(tmp_path, [python, "-c", HELPS]))
    assert list(pages) == list(VERBS)
    assert [verb for verb, page in pages.items() if "usage:" not in page] == []


def test_a_folder_of_its_own(wheel, tmp_path):
    """``pip install --target``."""
    install(wheel, "--target", str(tmp_path / "target"))
    check_finds(tmp_path, tmp_path / "target", PYTHONPATH=str(tmp_path / "target"))


@pytest.mark.parametrize("user", [True, False])
def test_the_folder_of_a_user_or_a_prefix(wheel, tmp_path, user):
    """``pip install --user`` lays files out as ``--prefix`` does."""
    install(wheel, "--prefix", str(tmp_path / "own"))
    packages = Path(sysconfig.get_path("purelib", "posix_user", {"userbase": str(tmp_path / "own")}))
    environment = {"PYTHONUSERBASE": str(tmp_path / "own")} if user else {}
    check_finds(tmp_path, packages, PYTHONPATH=str(packages), **environment)
