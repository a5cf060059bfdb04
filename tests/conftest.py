"""What every test shares: one quiet CPU thread, no network, real recordings where there are some, small worlds.

The worlds themselves stand in ``tests/worlds``; each is made once, by the first test that asks for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, below the test's own; stores are unpacked there."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CSLM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 23 good utterances."""
    from tests.worlds.small_corpus import write_corpus

    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def card(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A card of 16 units fitted on the corpus."""
    from tests.worlds.small_corpus import fit_card

    return fit_card(corpus, tmp_path_factory.mktemp("card") / "card.yaml")


@pytest.fixture(scope="session")
def form(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How sequences are written for the tokenizer of the small village."""
    from tests.worlds.small_village import small_format

    return small_format(tmp_path_factory.mktemp("tokenizer") / "small")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint that hears and speaks."""
    from tests.worlds.tiny_checkpoint import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "llama")


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Any:
    """The same, opened."""
    from cslm import CSLMForCausalLM

    return CSLMForCausalLM.from_pretrained(checkpoint).eval()


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
