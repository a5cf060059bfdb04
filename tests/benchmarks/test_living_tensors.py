"""The bytes that tensors hold: each storage once, and none for what has a shape alone.

Counted in a process of its own: beside other tests, what they leave and lose is counted too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cslm.benchmarks.living_tensors import living_bytes

before = living_bytes()
weight = torch.zeros(1000, requires_grad=True)
seen_twice = weight.detach()[:10]
print("a storage that two see", living_bytes() - before)
weight.grad = torch.zeros(1000)
print("and a gradient", living_bytes() - before)
with FakeTensorMode():
    fake = torch.empty(1000, requires_grad=True)
meta = torch.empty(1000, device="meta")
print("and two shapes without memory", living_bytes() - before)
"""


def test_a_storage_counts_once_a_gradient_too_and_a_shape_alone_nothing() -> None:
    """Once: Cannot access data pointer of Tensor, where a plan had been made before in the same process."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.stdout.splitlines() == [
        "a storage that two see 4000",
        "and a gradient 8000",
        "and two shapes without memory 8000",
    ]
