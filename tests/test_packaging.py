"""The wheel carries what is not Python: wordings, tables, recipes' YAML, settings and cards."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import cslm

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


def test_the_wheel_carries_the_data(tmp_path):
    """Built from a copy, so that the checkout stays as it is."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "cslm", "recipes", "tokenizers"):
        (copy / name).symlink_to(ROOT / name)
    build = "import setuptools.build_meta as backend, sys; print(backend.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=copy, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "cslm").rglob("*.yaml")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "cslm").rglob("*.py")} | {"cslm/py.typed"}
    expected |= {f"cslm-{cslm.__version__}.data/data/share/cslm/{path.relative_to(ROOT)}" for path in SHIPPED}
    assert expected <= names
    assert not [name for name in names if name.startswith(("tests", "tools", "tokenizers"))]
