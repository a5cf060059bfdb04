"""Checkpoints that the tests of generation and evaluation share, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cslm import CSLMForCausalLM
from tests.generation.tiny_checkpoint import make_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "llama")


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> CSLMForCausalLM:
    return CSLMForCausalLM.from_pretrained(checkpoint).eval()
