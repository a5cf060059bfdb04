from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.training.processes import finish, start
from tests.training.run_rows import FIRST_ROW, run
from tests.worlds.tiny_models import tiny_model
from tests.worlds.tiny_stream import TinyStream, tiny_module

SCRIPT = "tests/training/run_rows.py"
CASES = [
    (stage, precision, (stage % 2 == 0) == (precision == "fp32"))
    for stage in range(4)
    for precision in ("fp32", "bf16")
]
BY_ROWS = ("model.embed_tokens.weight", "lm_head.weight")


def curve(output):
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["grad_norm"], row["lr"], row["tokens"]) for row in rows]


def before(tied: bool, precision: str) -> dict:
    """The weights that a run starts from."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return {name: value.to(dtype) for name, value in tiny_model("qwen3", tied).state_dict().items()}


@pytest.mark.parametrize(("stage", "precision", "tied"), CASES)
def test_in_the_first_steps_nothing_but_the_rows_moves(tmp_path, stage, precision, tied):
    run(str(tmp_path), 3, first_steps=3, tied=tied, zero_stage=stage, precision=precision)
    after, start_from = load_file(tmp_path / "w.safetensors"), before(tied, precision)
    for name, value in after.items():
        if name in BY_ROWS:
            assert torch.equal(value[:FIRST_ROW], start_from[name][:FIRST_ROW]), name
            moved = (value[FIRST_ROW:] != start_from[name][FIRST_ROW:]).any(dim=1)
            assert moved.sum() > 18, name  # some ids are never drawn
        else:
            assert torch.equal(value, start_from[name]), name


@pytest.mark.parametrize(("stage", "precision", "tied"), CASES)
def test_with_lora_text_rows_keep_their_bits(tmp_path, stage, precision, tied):
    run(str(tmp_path), 4, first_steps=1, lora=True, tied=tied, zero_stage=stage, precision=precision)
    after, start_from = load_file(tmp_path / "w.safetensors"), before(tied, precision)
    for name, value in after.items():
        if name in BY_ROWS:
            assert torch.equal(value[:FIRST_ROW], start_from[name][:FIRST_ROW]), name
            moved = (value[FIRST_ROW:] != start_from[name][FIRST_ROW:]).any(dim=1)
            assert moved.sum() > 18, name  # some ids are never drawn
        else:
            assert torch.equal(value, start_from[name]) == ("norm" in name), name


def plain_loop(first_steps: int, steps: int) -> tuple[list[float], list[float], dict[str, torch.Tensor]]:
    """Torch alone, in fp32: losses, norms of what learns, and weights. Frozen parts are put back after each step."""
    module = tiny_module().train()
    rows = module.model.get_input_embeddings().weight
    others = [p for p in module.parameters() if p is not rows]
    groups = [{"params": [rows], "lr": 0.02}, {"params": [p for p in others if p.dim() > 1]},
              {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0}]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    losses, norms = [], []
    for step in range(steps):
        alone = step < first_steps
        batch = TinyStream().step({"step": step})
        loss = sum(module(row).weighted_sum for row in batch.micro_batches) / batch.counts["targets"]
        optimizer.zero_grad()
        loss.backward()
        if alone:
            rows.grad[:FIRST_ROW] = 0
            for parameter in others:
                parameter.grad.zero_()
        losses.append(loss.item())
        norms.append(float(torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)))
        kept = [parameter.detach().clone() for parameter in others]
        optimizer.param_groups[0]["weight_decay"] = 0.0 if alone else 0.1
        optimizer.step()
        with torch.no_grad():
            for parameter, value in zip(others, kept, strict=True):
                parameter.copy_(value if alone else parameter)
    return losses, norms, module.model.state_dict()


@pytest.mark.parametrize("stage", range(4))
def test_moments_norms_and_what_follows_are_those_of_a_plain_loop(tmp_path, stage):
    run(str(tmp_path), 7, first_steps=3, zero_stage=stage, schedule="constant")
    losses, norms, weights = plain_loop(3, 7)
    found = curve(tmp_path)
    assert [row[1] for row in found] == pytest.approx(losses, rel=1e-5)
    assert [row[2] for row in found] == pytest.approx(norms, rel=1e-4)
    for name, value in load_file(tmp_path / "w.safetensors").items():
        torch.testing.assert_close(value, weights[name], atol=2e-5, rtol=0, msg=name)


@pytest.mark.parametrize(("stage", "lora"), [(0, False), (2, True), (3, False), (3, True)])
def test_stopped_in_the_first_steps_it_goes_on_as_if_never_stopped(tmp_path, stage, lora):
    settings = {"first_steps": 3, "lora": lora, "zero_stage": stage, "dropout": 0.1}
    run(str(tmp_path / "whole"), 5, **settings)
    for steps in (2, 5):
        run(str(tmp_path / "parts"), steps, **settings)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    found, expected = (load_file(tmp_path / name / "w.safetensors") for name in ("parts", "whole"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("stage", "counts", "lora"), [(2, (2, 1), True), (3, (1, 2), False), (3, (2, 1), True)])
def test_another_number_of_processes_goes_on_with_the_same_curve(tmp_path, stage, counts, lora):
    settings = {"first_steps": 3, "zero_stage": stage, "lora": lora, "tied": False}
    run(str(tmp_path / "whole"), 5, **settings)
    for steps, count in zip((2, 5), counts, strict=True):
        finish(start(count, SCRIPT, json.dumps({"output": str(tmp_path / "parts"), "max_steps": steps, **settings})))
    for one, other in zip(curve(tmp_path / "parts"), curve(tmp_path / "whole"), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    after = load_file(tmp_path / "parts" / "w.safetensors")
    kept = torch.equal(after[BY_ROWS[0]][:FIRST_ROW], before(False, "fp32")[BY_ROWS[0]][:FIRST_ROW])
    assert kept == lora


def test_muon_moves_nothing_but_the_rows_in_the_first_steps(tmp_path):
    run(str(tmp_path), 3, first_steps=3, optimizer="muon", zero_stage=0)
    start_from = before(True, "fp32")
    for name, value in load_file(tmp_path / "w.safetensors").items():
        kept = value[:FIRST_ROW] if name in BY_ROWS else value
        assert torch.equal(kept, start_from[name][: len(kept)]), name
