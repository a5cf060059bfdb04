"""Run by test_objective.py in each process: gradients of two terms under every ZeRO stage. Prints what it compared."""

from __future__ import annotations

from deepspeed.utils import safe_get_full_grad

from cslm.training.engine import accumulate_gradients, start_engine, start_processes
from tests.worlds.flat_training import training_config
from tests.worlds.two_terms import PointStream, TwoTerms, plain_gradients


def main() -> None:
    """Every stage, with counts that the stream knows and with counts that the processes add up."""
    rank, world_size = start_processes(num_threads=1)
    wanted = plain_gradients(TwoTerms())
    for stage in range(4):
        for knows_counts in (True, False):
            engine = start_engine(TwoTerms(), training_config(max_steps=1, zero_stage=stage))
            accumulate_gradients(engine, PointStream(knows_counts).step({}, rank, world_size))
            for name, parameter in engine.module.named_parameters():
                difference = (safe_get_full_grad(parameter) - wanted[name]).abs().max()
                assert difference < 1e-5, (stage, knows_counts, name, float(difference))
            engine.destroy()
            if rank == 0:
                print(f"stage {stage}, counts {'known' if knows_counts else 'added up'}: equal", flush=True)


if __name__ == "__main__":
    main()
