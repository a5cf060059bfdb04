from __future__ import annotations

import pytest
import torch

from cslm.errors import UserError
from cslm.model.backbone import model_of_shape
from cslm.model.document_probe import check_documents, probe_documents
from tests.worlds.architectures import architecture, random_model
from tests.worlds.tiny_models import tiny_model

APART = [("llama", "document"), ("llama", "sdpa"), ("llama", "eager"), ("qwen3", "document"), ("phi3", "document"),
         ("gemma2", "document"), ("mixtral", "document"), ("gpt_oss", "document")]  # fmt: skip
LEAKING = [("mamba", "eager"), ("mamba2", "eager"), ("lfm2", "document"), ("recurrent_gemma", "document"),
           ("bloom", "eager"), ("gpt_oss", "eager")]  # fmt: skip


@pytest.mark.parametrize(("name", "attention"), APART)
def test_documents_that_are_apart_pass(name, attention):
    model = random_model(name, attention)
    probe = probe_documents(model)
    assert (probe.leak, probe.ahead) == (0, 0) and probe.shift < 1e-5
    assert check_documents(model, packed=True) is None


@pytest.mark.parametrize(("name", "attention"), LEAKING)
def test_a_loss_that_depends_on_the_document_before_is_refused_with_the_setting_named(name, attention):
    model = random_model(name, attention)
    assert probe_documents(model).leak > 0
    with pytest.raises(UserError, match=rf"{name}\) with .* see one another .*set training\.data\.pack false"):
        check_documents(model, packed=True)
    assert check_documents(model, packed=False) is None


def test_the_attention_that_our_own_message_once_advised_leaks_and_the_one_that_does_not_is_named():
    with pytest.raises(UserError, match=r"gpt_oss.* or model\.attention document"):
        check_documents(random_model("gpt_oss", "eager"), packed=True)


@pytest.mark.parametrize("packed", [True, False])
def test_a_model_that_would_see_the_token_it_predicts_is_refused_in_any_row(packed):
    """Bloom makes no mask of its own, and asks an attention for one that it does not call."""
    advice = "set model.attention eager" + (" and training.data.pack false" if packed else "")
    with pytest.raises(UserError, match=rf"bloom\) with model\.attention document .*: {advice}$"):
        check_documents(random_model("bloom", "document"), packed)


def test_positions_that_go_on_through_a_row_are_found():
    model = random_model("gpt2", "eager")
    table = model.transformer.wpe
    table.forward = lambda position_ids: table.weight[None, : position_ids.shape[1]]
    probe = probe_documents(model)
    assert probe.leak == 0 and not probe.is_apart
    with pytest.raises(UserError, match="a loss that changes by"):
        check_documents(model, packed=True)


def test_halves_are_measured_too():
    assert probe_documents(random_model("llama").bfloat16()).is_apart
    assert not probe_documents(random_model("lfm2").bfloat16()).is_apart


def test_nothing_is_left_behind():
    model = random_model("qwen3")
    model.model.layers[0].requires_grad_(False)
    model.model.layers[1].eval()
    learning = [parameter.requires_grad for parameter in model.parameters()]
    torch.manual_seed(5)
    check_documents(model, packed=True)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training and not model.model.layers[1].training
    assert not model.get_input_embeddings()._forward_hooks


def test_an_attention_that_a_cpu_has_not_is_said_in_one_line(monkeypatch):
    model = random_model("llama")

    def no_kernel(*arguments, **names):
        raise RuntimeError("FlashAttention only supports GPUs\nand more")

    monkeypatch.setattr(model, "forward", no_kernel)
    monkeypatch.setattr(type(model), "get_decoder", no_kernel)
    model.config._attn_implementation_internal = "flash_attention_2"
    told = check_documents(model, packed=True)
    assert told is not None and "was not measured" in told and "\n" not in told


def test_a_table_of_attentions_without_ours_names_those_that_it_has():
    with pytest.raises(UserError, match=r"falcon\) has no attention document: set model\.attention eager or sdpa"):
        model_of_shape(architecture("falcon"), "document", torch.float32)


def test_layers_for_cpus_are_measured_as_they_train():
    from cslm.model.cpu_layers import use_cpu_layers

    model = tiny_model("qwen3", attention="document").train()
    assert use_cpu_layers(model) > 0
    assert probe_documents(model).is_apart
