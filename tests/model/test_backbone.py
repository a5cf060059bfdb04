from __future__ import annotations

import pytest
import torch

from cslm.errors import UserError
from cslm.model.backbone import ModelConfig, build_model, load_text_tokenizer
from cslm.sequences.text_tokenizer import train_text_tokenizer
from tests.worlds.tiny_models import tiny_model

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPE["num_key_value_heads"] = 1


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_text_tokenizer(["one two three"] * 9, 320, tmp_path_factory.mktemp("text") / "tokenizer")


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_from_scratch_with_one_set_of_keys(tokenizer, model_type):
    torch.manual_seed(5)
    config = ModelConfig(architecture={"model_type": model_type, **SHAPE})
    model = build_model(config, tokenizer, seed=1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))  # the caller's random state is left alone
    assert model.training
    assert model.config.vocab_size % 64 == 0
    assert 0 <= model.config.vocab_size - len(tokenizer) < 64
    assert model.config.eos_token_id == tokenizer.eos_token_id
    again, other = build_model(config, tokenizer, seed=1), build_model(config, tokenizer, seed=2)
    weights = [m.get_input_embeddings().weight for m in (model, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_from_a_folder(tokenizer, tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    model = build_model(ModelConfig(base=str(tmp_path)), tokenizer)
    assert model.config.model_type == "llama"
    assert model.config._attn_implementation == "document"
    assert next(model.parameters()).dtype == torch.float32
    half = build_model(ModelConfig(base=str(tmp_path), dtype="bfloat16", attention="sdpa"), tokenizer)
    assert next(half.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(), "base"),
        (ModelConfig(base="x", architecture={}), "not both"),
        (ModelConfig(architecture={"model_type": "no_such"}), "no_such"),
        (ModelConfig(architecture={"model_type": "llama"}, dtype="float8"), "float8"),
        (ModelConfig(base="no/such/folder"), "no/such/folder"),
    ],
)
def test_mistakes_are_named(tokenizer, config, message):
    with pytest.raises(UserError, match=message):
        build_model(config, tokenizer)


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(UserError, match="text tokenizer"):
        load_text_tokenizer(str(tmp_path))
