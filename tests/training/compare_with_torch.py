"""Run by test_engine.py in each process: DeepSpeed against a plain torch loop. Prints what it compared.

Arguments: ZeRO stages, as ``0123``, or JSON files of DeepSpeed settings.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from deepspeed.utils import safe_get_full_grad

from cslm.model import head_loss
from cslm.training.engine import (
    accumulate_gradients,
    full_weights,
    set_learning_rate,
    start_engine,
    start_processes,
    update_weights,
)
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_stream import TinyStream, tiny_module, torch_loop

STEPS = 4
CASES = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "gradient_clip": 0.0},
    "faster embeddings": {"optimizer": "sgd", "learning_rate": 0.05, "gradient_clip": 0.0, "embedding_rate": 3.0},
    "adamw": {
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "gradient_clip": 0.5,
        "weight_decay": 0.1,
        "betas": (0.9, 0.95),
    },
}


def expected(case: str) -> dict[str, list]:
    """The plain loop."""
    module, settings = tiny_module(), CASES[case]
    if settings["optimizer"] == "sgd":
        rate = settings["learning_rate"]
        faster = ("embed_tokens", "lm_head") if "embedding_rate" in settings else ()
        groups = [
            {"params": [p], "lr": 3 * rate if any(part in name for part in faster) else rate}
            for name, p in module.named_parameters()
        ]
        optimizer = torch.optim.SGD(groups, lr=rate)
    else:
        groups = [
            {"params": [p for p in module.parameters() if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in module.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(0.9, 0.95), fused=False)
    return torch_loop(module, optimizer, settings["gradient_clip"], STEPS)


def compare(stage: int, case: str, wanted: dict, rank: int, world_size: int, settings: str | None = None) -> None:
    """One stage and optimizer, some steps."""
    config = training_config(max_steps=STEPS, zero_stage=stage, deepspeed=settings, **CASES[case])
    engine = start_engine(tiny_module(), config)
    for step in range(STEPS):
        batch = TinyStream().step({"step": step}, rank, world_size)
        outputs = accumulate_gradients(engine, batch)
        loss = torch.stack([output.weighted_sum for output in outputs]).sum() / batch.counts["targets"]
        torch.distributed.all_reduce(loss)
        assert abs(float(loss) - wanted["losses"][step]) < 1e-5, (stage, case, step, float(loss), wanted["losses"])
        for name, parameter in engine.module.named_parameters():
            difference = (safe_get_full_grad(parameter) - wanted["gradients"][step][name]).abs().max()
            assert difference < 1e-5, (stage, case, step, name, float(difference))
        set_learning_rate(engine, config.learning_rate)
        norm = update_weights(engine, config.optimizer.gradient_clip)
        reference = torch.stack([g.norm() for g in wanted["gradients"][step].values()]).norm()
        assert abs(float(norm) - float(reference)) < 1e-4, (stage, case, step, float(norm), float(reference))
    weights = full_weights(engine)
    assert bool(weights) == (rank == 0)
    engine.destroy()


def main() -> None:
    """All stages or files, all optimizers."""
    rank, world_size = start_processes(num_threads=1)
    if "CHUNK_LOGITS" in os.environ:
        head_loss.CHUNK_LOGITS = int(os.environ["CHUNK_LOGITS"])
    trials: list[tuple[int, str | None]] = [(int(stage), None) for stage in sys.argv[1] if sys.argv[1].isdigit()]
    for file in sys.argv[1:] if not trials else ():
        trials.append((json.loads(Path(file).read_text(encoding="utf-8"))["zero_optimization"]["stage"], file))
    for case in CASES:
        wanted = expected(case)
        for stage, settings in trials:
            compare(stage, case, wanted, rank, world_size, settings)
            if rank == 0:
                print(
                    f"{Path(settings).name if settings else f'stage {stage}'} {case} on {world_size}: equal", flush=True
                )


if __name__ == "__main__":
    main()
