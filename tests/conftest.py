"""What every test shares: one quiet CPU thread, no network, and the folder of real recordings where there is one."""

from __future__ import annotations

import os
from pathlib import Path

for name, value in {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "DS_ACCELERATOR": "cpu",
}.items():
    os.environ.setdefault(name, value)  # before torch, transformers and datasets are imported

import numpy as np  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture
def generator() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings, ``digits/recordings`` and ``belle``: CSLM_RECORDINGS, or beside the checkout."""
    folder = Path(os.environ.get("CSLM_RECORDINGS", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real recordings: set CSLM_RECORDINGS to the folder that holds digits/recordings and belle")
    return folder


@pytest.fixture(scope="session")
def digits(recordings: Path) -> Path:
    """Human recordings of spoken digits, ``{digit}_{speaker}_{index}.wav``."""
    return _present(recordings / "digits" / "recordings")


@pytest.fixture(scope="session")
def belle(recordings: Path) -> Path:
    """Chinese questions with a table of their texts."""
    return _present(recordings / "belle")


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder
