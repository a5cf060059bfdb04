from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from cslm.model.flops import ModelFlops, model_flops
from cslm.model.lora import LoraOptions, add_lora
from cslm.model.loss import LanguageModelLoss
from tests.worlds.tiny_models import packed_row, tiny_model

LENGTHS = [40, 12, 64, 9]
PROJECTIONS = 32 * 32 + 2 * 32 * 16 + 32 * 32  # queries, keys and values of one head, output
PER_TOKEN = 2 * 2 * (PROJECTIONS + 3 * 32 * 48)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text"])
@pytest.mark.parametrize("tied", [True, False])
def test_as_many_as_pytorch_counts(family, tied):
    """What differs: PyTorch counts full squares of scores, we the half that a causal model sees (taken out on both
    sides here, counted in the tests below), and on transformers 4 the rotary embedding's outer product, 0.03 %."""
    model = tiny_model(family, tied, attention="eager").train()
    flops = model_flops(model)
    ids = torch.arange(3, 43)[None] % 64
    targets = torch.arange(10, 30)
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, logits_to_keep=targets, use_cache=False).logits
        logits.sum().backward()
    squares = 3 * 2 * flops.per_pair * 40 * 40
    ours = flops.step([40], 20) - 3 * flops.per_pair * sum(_seen(40, window) for window in flops.windows)
    assert counter.get_total_flops() - squares == pytest.approx(ours, rel=0.001)
    assert ours == 3 * (40 * PER_TOKEN + 20 * 2 * 32 * 64)


def test_a_packed_row_as_the_loss_computes_it():
    """Everything but attention agrees with PyTorch's count exactly: the head runs on the trained positions alone."""
    row = packed_row(LENGTHS)
    loss = LanguageModelLoss(tiny_model("qwen3", attention="document").train(), 3)
    flops = model_flops(loss.model)
    with FlopCounterMode(display=False) as counter:
        loss(row).weighted_sum.backward()
    counted = counter.get_flop_counts()["Global"]
    linear = counted[torch.ops.aten.mm] + counted.get(torch.ops.aten.addmm, 0)
    num_targets = row.num_targets
    assert num_targets < sum(LENGTHS)
    assert linear == 3 * (sum(LENGTHS) * flops.per_token + num_targets * flops.per_target)


def test_frozen_weights_have_no_gradient_to_compute():
    """LoRA on a frozen model: what PyTorch counts, attention and its own small matrices included."""
    row = packed_row(LENGTHS)
    model = tiny_model("llama", tied=False, attention="document").train()
    whole = model_flops(model).step(LENGTHS, row.num_targets)
    loss = LanguageModelLoss(add_lora(model, LoraOptions(rank=2)), 3)
    flops = model_flops(model)
    assert flops.frozen_per_token == PER_TOKEN and flops.frozen_per_target == 0
    with FlopCounterMode(display=False) as counter:
        loss(row).weighted_sum.backward()
    counted = counter.get_flop_counts()["Global"]
    linear = counted[torch.ops.aten.mm] + counted.get(torch.ops.aten.addmm, 0)
    pairs = 3 * flops.per_pair * sum(_seen(length, None) for length in LENGTHS) * len(flops.windows)
    assert linear == pytest.approx(flops.step(LENGTHS, row.num_targets) - pairs, rel=1e-9)
    assert flops.step(LENGTHS, 0) < whole


def test_documents_do_not_see_one_another():
    flops = ModelFlops(per_token=0, per_target=0, per_pair=1, windows=(None, None))
    assert flops.step([3], 0) == 3 * 2 * 6
    assert flops.step([3, 3], 0) == 2 * flops.step([3], 0) < flops.step([6], 0)
    assert flops.step([4], 0) / 3 / 2 == pytest.approx(4 * 4 / 2, rel=0.3)


@pytest.mark.parametrize("window", [None, 1, 4, 8, 20])
def test_a_window_hides_what_lies_before_it(window):
    flops = ModelFlops(per_token=0, per_target=0, per_pair=1, windows=(window,))
    assert flops.step([8], 0) == 3 * _seen(8, window)


def test_from_a_configuration_alone():
    """Eight billion weights, none of them made: six times the weights a token, and the scores."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
            "llama", vocab_size=132_352, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=8))  # fmt: skip
    flops = model_flops(model)
    weights = sum(p.numel() for p in model.parameters()) - 132_352 * 4096 - 65 * 4096
    assert flops.step([1], 1) == 6 * weights + 3 * 32 * 4 * 4096


def test_experts_are_not_counted():
    config = AutoConfig.for_model("qwen3_moe", vocab_size=64, hidden_size=32, num_hidden_layers=1, num_experts=4,
                                  num_attention_heads=2, num_key_value_heads=1, moe_intermediate_size=16)  # fmt: skip
    with torch.device("meta"):
        assert model_flops(AutoModelForCausalLM.from_config(config)) is None


def _seen(length, window):
    """Counted one by one."""
    return sum(1 for i in range(length) for j in range(i + 1) if window is None or i - j < window)
