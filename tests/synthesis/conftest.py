"""The tiny village, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cslm.synthesis.prepare_corpus import prepare_corpus


@pytest.fixture(scope="session")
def tiny_village(tmp_path_factory) -> Path:
    """The folder of a tiny village, seed 0."""
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    output = tmp_path_factory.mktemp("village") / "corpus"
    assert prepare_corpus("village", output, ["--size", "tiny", "--num_workers", "1"])
    return output
