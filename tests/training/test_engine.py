from __future__ import annotations

from tests.training.processes import finish, start


def test_every_zero_stage_is_the_plain_torch_loop_on_one_and_two_processes():
    """Gradients to 1e-5 before clipping, losses of several steps of SGD and of AdamW with clipping, and norms."""
    running = {world_size: start(world_size, "tests/training/compare_with_torch.py", "0123") for world_size in (1, 2)}
    for world_size, processes in running.items():
        printed = finish(processes)
        for stage in range(4):
            for optimizer in ("sgd", "adamw"):
                assert f"stage {stage} {optimizer} on {world_size}: equal" in printed
