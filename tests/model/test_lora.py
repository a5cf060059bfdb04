from __future__ import annotations

import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cslm.errors import MissingExtraError, UserError
from cslm.model import head_loss
from cslm.model.checkpoint import save_checkpoint
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.lora import LoraOptions, add_lora, merge_lora
from cslm.model.loss import LanguageModelLoss
from cslm.sequences.text_tokenizer import train_text_tokenizer
from tests.worlds.tiny_models import packed_row, tiny_model

pytest.importorskip("peft")

ROW = packed_row([9, 14, 6])


def adapted(family: str = "qwen3", tied: bool = True, **options: object):
    """A tiny model whose LoRA is no longer zero."""
    model = add_lora(tiny_model(family, tied, attention="document"), LoraOptions(rank=4, **options))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(ROW.input_ids[:, :9]).logits


def test_outputs_stay_until_something_is_learnt():
    assert torch.equal(logits(add_lora(tiny_model(), LoraOptions())), logits(tiny_model()))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_merged_it_is_a_plain_model_with_the_logits_of_the_live_one(family, tied):
    live, plain = adapted(family, tied), tiny_model(family, tied, attention="document")
    merged = merge_lora(live, live.state_dict())
    assert set(merged) == set(plain.state_dict())
    plain.load_state_dict(merged)
    assert (logits(plain) - logits(tiny_model(family, tied, "document"))).abs().max() > 1e-2
    torch.testing.assert_close(logits(plain), logits(live), atol=1e-5, rtol=0)


def test_layers_with_transposed_weights_are_merged_too():
    config = AutoConfig.for_model("gpt2", vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=32)
    plain = AutoModelForCausalLM.from_config(config).eval()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    live = add_lora(plain, LoraOptions(rank=2))
    for name, parameter in live.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.05)
    other = AutoModelForCausalLM.from_config(config).eval()
    other.load_state_dict(merge_lora(live, live.state_dict()))
    torch.testing.assert_close(logits(other), logits(live), atol=1e-5, rtol=0)
    assert not torch.equal(other.state_dict()["transformer.h.0.attn.c_proj.weight"],
                           before["transformer.h.0.attn.c_proj.weight"])  # fmt: skip


@pytest.mark.parametrize(("rows", "tied", "expected"), [
    ("new", True, {"embed_tokens"}), ("new", False, {"embed_tokens", "lm_head"}), ("none", False, set()),
    ("all", False, {"embed_tokens", "lm_head"}),
])  # fmt: skip
def test_what_learns(rows, tied, expected):
    model = add_lora(tiny_model(tied=tied), LoraOptions(train_rows=rows))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[-2] for name in learning if ".lora_" not in name} == expected
    linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.split(".")[-4] for name in learning if ".lora_A." in name} == linear


@pytest.mark.parametrize("targets", [None, ["o_proj", "down_proj"], ["q_proj", "up_proj"]])
def test_the_fast_layers_of_cpus_do_not_lose_it(targets):
    slow, fast = LanguageModelLoss(adapted(target_modules=targets), 3), adapted(target_modules=targets)
    use_cpu_layers(fast)
    fast = LanguageModelLoss(fast, 3)
    for module in (slow, fast):
        module(ROW).weighted_sum.backward()
    for (name, one), other in zip(slow.named_parameters(), fast.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-4, rtol=1e-4, msg=name)
    without = LanguageModelLoss(tiny_model(attention="document"), 3)
    assert (without(ROW).weighted_sum - fast(ROW).weighted_sum).abs() > 1e-2


@pytest.mark.parametrize("tied", [True, False])
def test_logits_in_chunks_are_those_of_all_at_once(monkeypatch, tied):
    whole, chunked = (LanguageModelLoss(adapted(tied=tied), 3) for _ in range(2))
    whole(ROW).weighted_sum.backward()
    monkeypatch.setattr(head_loss, "CHUNK_LOGITS", 64 * 5)
    chunked(ROW).weighted_sum.backward()
    for one, other in zip(whole.parameters(), chunked.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-4, rtol=1e-4)


def test_the_checkpoint_opens_without_peft(tmp_path, monkeypatch):
    live = adapted("llama", tied=False)
    tokenizer = train_text_tokenizer(["one two three"] * 9, 320, tmp_path / "text")
    save_checkpoint(live, tokenizer, tmp_path, merge_lora(live, live.state_dict()))
    monkeypatch.setitem(sys.modules, "peft", None)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(opened), logits(live), atol=1e-5, rtol=0)


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(UserError, match=r"train_rows is 'some': choose one of new, all, none"):
        LoraOptions(train_rows="some").check()
    with pytest.raises(UserError, match=r"lora\.rank is 0"):
        LoraOptions(rank=0).check()
    with pytest.raises(UserError, match=r"lora\.dropout is 1"):
        LoraOptions(dropout=1).check()
    with pytest.raises(UserError, match="no linear layer is called 'query': choose from down_proj"):
        add_lora(tiny_model(), LoraOptions(target_modules=["q_proj", "query"]))
    with pytest.raises(UserError, match="lm_head"):
        add_lora(tiny_model(), LoraOptions(target_modules=["lm_head"]))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"cslm\[lora\]"):
        add_lora(tiny_model(), LoraOptions())
