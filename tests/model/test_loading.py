"""Bases whose files do not hold what their configuration says: they trained from random weights, status 0."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cslm.errors import UserError
from cslm.model.backbone import ModelConfig, build_model
from cslm.model.loading import load_whole
from cslm.sequences.text_tokenizer import train_text_tokenizer
from tests.worlds.tiny_models import FAMILIES, tiny_model


def rewrite(folder, change=None, **config):
    """The checkpoint with its tensors changed by ``change`` and its configuration by ``config``."""
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    if change is not None:
        save_file(change(tensors), file, metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def load(folder, **options):
    return load_whole(AutoModelForCausalLM, folder, **options)


@pytest.fixture
def folder(tmp_path):
    tiny_model("llama", tied=False).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_whole_base_is_loaded(family, tied, tmp_path):
    model = tiny_model(family, tied)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_names_of_a_compiled_model_are_refused(folder):
    rewrite(folder, lambda tensors: {f"_orig_mod.{name}": value for name, value in tensors.items()})
    with pytest.raises(UserError, match=r"missing from its files.*lm_head\.weight.* 17 more; .*_orig_mod\.lm_head"):
        load(folder)


def test_one_missing_tensor_is_named(folder):
    rewrite(folder, lambda tensors: {k: v for k, v in tensors.items() if "layers.1.mlp.up" not in k})
    with pytest.raises(UserError, match=r"missing from its files, .* random: model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


def test_three_layers_configured_over_two(folder):
    with pytest.raises(UserError, match=r"random: model\.layers\.2\.input_layernorm\.weight.* and 5 more"):
        load(rewrite(folder, num_hidden_layers=3))


def test_one_layer_configured_over_two(folder):
    with pytest.raises(UserError, match=r"no place for them: model\.layers\.1\."):
        load(rewrite(folder, num_hidden_layers=1))
    assert load(folder, unused=["model.layers.1.*"]).config.num_hidden_layers == 1


def test_an_index_without_its_head(folder):
    rewrite(folder, lambda tensors: {k: v for k, v in tensors.items() if k != "lm_head.weight"})
    (file,) = folder.glob("*.safetensors")
    names = dict.fromkeys(load_file(file), file.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(UserError, match=r"would be random: lm_head\.weight"):
        load(folder)


def test_another_vocabulary_in_the_configuration(folder):
    with pytest.raises(UserError, match=r"another shape than config\.json says: lm_head\.weight, model\.embed_tokens"):
        load(rewrite(folder, vocab_size=128))


def test_a_head_of_its_own_that_the_configuration_ties(folder):
    """transformers 4 drops the head of the files, transformers 5 keeps both: the same folder gives two models."""
    with pytest.raises(UserError, match=r"not what config\.json ties them to .*: lm_head\.weight"):
        load(rewrite(folder, tie_word_embeddings=True))


def test_a_run_refuses_such_a_base(folder, tmp_path_factory):
    tokenizer = train_text_tokenizer(["one two three"] * 9, 320, tmp_path_factory.mktemp("text") / "tokenizer")
    rewrite(folder, num_hidden_layers=1)
    with pytest.raises(UserError, match="no place for them"):
        build_model(ModelConfig(base=str(folder)), tokenizer)
    model = build_model(ModelConfig(base=str(folder), unused_tensors=["model.layers.1.*"]), tokenizer)
    assert model.config.num_hidden_layers == 1
