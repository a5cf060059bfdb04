from __future__ import annotations

import pytest

from tests.training.processes import finish, start


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_zero_stage_is_the_plain_torch_loop(world_size):
    """Gradients to 1e-5 before clipping, losses of several steps of SGD and of AdamW with clipping, and norms."""
    printed = finish(start(world_size, "tests/training/compare_with_torch.py", "0123"))
    for stage in range(4):
        for optimizer in ("sgd", "faster embeddings", "adamw"):
            assert f"stage {stage} {optimizer} on {world_size}: equal" in printed
