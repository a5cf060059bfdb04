from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from cslm.errors import UserError
from cslm.training.muon import Muon, inner_matrices, orthogonalise
from tests.worlds.flat_training import training_config


def test_all_directions_of_an_update_count_alike():
    torch.manual_seed(0)
    steep = torch.randn(3, 8, 20) * torch.logspace(0, -2, 8)[:, None]
    values = torch.linalg.svdvals(orthogonalise(steep))
    assert (torch.linalg.svdvals(steep).amax(1) > 50 * torch.linalg.svdvals(steep).amin(1)).all()
    assert ((values > 0.6) & (values < 1.3)).all()


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_and_head_are_left_to_adamw(tied):
    config = AutoConfig.for_model(
        "llama", vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    names = {id(p): name for name, p in model.named_parameters()}
    inner = sorted(names[id(p)].split(".")[-2] for p in inner_matrices(model))
    assert inner == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def _optimizer(net: nn.Sequential, rate: float = 0.02) -> Muon:
    matrices = [net[0].weight, net[2].weight]
    biases = [net[0].bias, net[2].bias]
    return Muon([{"params": matrices, "muon": True}, {"params": biases}], lr=rate, weight_decay=0.0)


def _train(net: nn.Sequential, optimizer: Muon, steps: int) -> float:
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        loss = (net(inputs) - inputs.sin()).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 6))


def test_learns():
    net = _net()
    optimizer = _optimizer(net)
    assert _train(net, optimizer, 150) < 0.05 * _train(_net(), _optimizer(_net(), 0.0), 1)


def test_saved_and_loaded_it_goes_on_as_if_never_stopped():
    whole, parts = _net(), _net()
    optimizer = _optimizer(whole)
    _train(whole, optimizer, 10)
    first = _optimizer(parts)
    _train(parts, first, 4)
    second = _optimizer(parts)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _train(parts, second, 6)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{"zero_stage": 2}, {"zero_stage": 0, "precision": "bf16"}])
def test_sharded_or_rounded_matrices_are_refused(settings):
    with pytest.raises(UserError, match="zero_stage 0"):
        training_config(max_steps=1, optimizer="muon", **settings)
