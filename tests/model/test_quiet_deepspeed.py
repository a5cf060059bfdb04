"""Who saves a model on a CPU has nothing to do with accelerators."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests.training.processes import clean_environment

SAVES = """
import sys
from cslm import CSLMForCausalLM
CSLMForCausalLM.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_saving_a_model_warned_of_no_accelerator(checkpoint, tmp_path):
    environment = {name: value for name, value in clean_environment().items() if name != "DS_ACCELERATOR"}
    command = [sys.executable, "-c", SAVES, str(checkpoint), str(tmp_path / "saved")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "accelerator" not in done.stdout + done.stderr
    assert (tmp_path / "saved" / "model.safetensors").is_file()
