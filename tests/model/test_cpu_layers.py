from __future__ import annotations

import copy

import pytest
import torch

from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.loss import LanguageModelLoss
from tests.worlds.tiny_models import packed_row, tiny_model


@pytest.mark.parametrize(("family", "layers"), [("llama", 9), ("qwen2", 9), ("qwen3", 13), ("gemma3_text", 0)])
def test_losses_and_gradients_are_those_of_transformers(family, layers):
    plain = tiny_model(family, attention="document")
    for module in plain.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.weight.data.add_(0.3 * torch.randn_like(module.weight))
    fast = copy.deepcopy(plain)
    assert use_cpu_layers(fast) == layers
    row = packed_row([9, 30, 28, 3, 1])
    losses = [LanguageModelLoss(model, num_groups=3)(row).weighted_sum for model in (plain, fast)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-6)
    for loss in losses:
        loss.backward()
    for (name, one), other in zip(plain.named_parameters(), fast.parameters(), strict=True):
        scale = one.grad.abs().max()
        assert (one.grad - other.grad).abs().max() <= 1e-5 * scale, name


def test_a_model_with_them_saves_and_generates_as_before(tmp_path):
    plain = tiny_model("qwen3", attention="document")
    fast = copy.deepcopy(plain)
    use_cpu_layers(fast)
    ids = packed_row([6]).input_ids
    with torch.no_grad():
        torch.testing.assert_close(fast(ids).logits, plain(ids).logits)
    found, expected = (m.generate(ids, max_new_tokens=5, do_sample=False) for m in (fast, plain))
    assert torch.equal(found, expected)
    fast.save_pretrained(tmp_path)
    loaded = type(plain).from_pretrained(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), plain.state_dict().values(), strict=True)
    )
