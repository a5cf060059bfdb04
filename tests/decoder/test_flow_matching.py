from __future__ import annotations

import pytest
import torch

from cslm.decoder.flow_matching import RESIDUAL_SCALE, FlowMatching, UnitEncoder


@pytest.fixture
def flow() -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(num_bands=4, condition_width=6, width=8, num_blocks=1)


def test_a_new_flow_leaves_the_noise_where_it_is(flow):
    noise, mask = torch.randn(2, 5, 4), torch.ones(2, 5, 1)
    found = flow.sample(noise, torch.randn(2, 5, 6), torch.randn(2, 5, 4), mask, num_steps=3)
    torch.testing.assert_close(found, noise * RESIDUAL_SCALE)


def test_no_steps_leave_the_mean(flow):
    noise = torch.randn(1, 5, 4)
    assert flow.sample(noise, torch.randn(1, 5, 6), torch.randn(1, 5, 4), torch.ones(1, 5, 1), 0).abs().sum() == 0


def test_euler_steps_on_a_straight_path_arrive(flow, monkeypatch):
    noise, residual = torch.randn(1, 5, 4), torch.randn(1, 5, 4)
    velocity = residual / RESIDUAL_SCALE - noise
    monkeypatch.setattr(flow, "forward", lambda *_: velocity)
    zeros = torch.zeros(1, 5, 4)
    for num_steps in (1, 4):
        found = flow.sample(noise, torch.zeros(1, 5, 6), zeros, torch.ones(1, 5, 1), num_steps)
        torch.testing.assert_close(found, residual)
    errors = flow.errors(residual, noise, torch.rand(1), torch.zeros(1, 5, 6), zeros, torch.ones(1, 5, 1))
    assert errors.shape == (1, 5) and errors.max() < 1e-10


def test_it_learns_two_answers_that_a_mean_cannot_give(flow):
    """Residuals of -0.5 and +0.5, each the same over a frame: the mean is 0, samples must be one or the other."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    condition, mean, mask = torch.zeros(64, 1, 6), torch.zeros(64, 1, 4), torch.ones(64, 1, 1)
    for _ in range(250):
        residual = (torch.randint(2, (64, 1, 1), generator=generator) - 0.5).expand(64, 1, 4)
        noise, times = torch.randn(64, 1, 4, generator=generator), torch.rand(64, generator=generator)
        loss = flow.errors(residual, noise, times, condition, mean, mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = flow.sample(torch.randn(64, 1, 4, generator=generator), condition, mean, mask, 10)
    assert (found.abs() > 0.2).float().mean() > 0.8
    assert 0.2 < (found.mean(dim=(1, 2)) > 0).float().mean() < 0.8


def test_padding_does_not_reach_a_frame():
    torch.manual_seed(0)
    encoder = UnitEncoder((5,), 1, 4, 4, width=8, num_blocks=2, condition_width=6, num_condition_blocks=2)
    ids, voices = torch.randint(5, (1, 6, 1)), torch.zeros(1, dtype=torch.long)
    positions = torch.arange(21)[None] * 0.29
    durations = torch.tensor([[1, 4, 2, 1, 1, 1]])
    alone = encoder(ids[:, :3], durations[:, :3], torch.tensor([3]), voices, positions[:, :10], torch.ones(1, 10, 1))
    mask = (torch.arange(21) < 10).float()[None, :, None]
    padded = encoder(ids, durations, torch.tensor([3]), voices, positions, mask)
    for one, other in zip(alone, padded, strict=True):
        torch.testing.assert_close(one, other[:, :10])
