from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cslm.errors import UserError
from cslm.model import compiled_layers
from cslm.model.compiled_layers import compile_layers, cpp_compiler
from cslm.model.loss import LanguageModelLoss
from tests.worlds.tiny_models import packed_row, tiny_model

BACKENDS = [
    "aot_eager",  # what is compiled, without the writing of code
    pytest.param("inductor", marks=pytest.mark.skipif(cpp_compiler() is None, reason="no C++ compiler (g++, clang++)")),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_losses_and_gradients_are_those_of_eager_layers(backend, monkeypatch):
    """Rows of other lengths and numbers of documents run the code of the first; nothing is compiled anew."""
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")  # else a pool of processes is started first
    torch._dynamo.reset()
    plain = tiny_model("qwen3", attention="document")
    compiled = copy.deepcopy(plain)
    assert compile_layers(compiled, backend) == 2
    graphs = set()
    for number, lengths in enumerate(([9, 30, 28, 3, 1], [40], [3, 3, 20, 21])):
        row = packed_row(lengths, seed=number)
        losses = [LanguageModelLoss(model, num_groups=3)(row).weighted_sum for model in (plain, compiled)]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-4)
        for loss in losses:
            loss.backward()
        graphs.add(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert len(graphs) == 1 and graphs.pop() > 0
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert (one.grad - other.grad).abs().max() <= 1e-5 * one.grad.abs().max(), name
    assert list(compiled.state_dict()) == list(plain.state_dict())


def test_without_a_compiler_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert cpp_compiler() is None
    with pytest.raises(UserError, match=r"training\.device\.compile needs a C\+\+ compiler"):
        compile_layers(tiny_model())


def test_a_backbone_without_known_layers_is_refused(monkeypatch):
    monkeypatch.setattr(compiled_layers, "GradientCheckpointingLayer", nn.Bilinear)
    with pytest.raises(UserError, match="has no decoder layers"):
        compile_layers(tiny_model(), "eager")
