"""Runs that train a part: LoRA, the rows of units first, and where these start."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from cslm.codecs.card import load_card, save_card
from cslm.configuration import parse_configuration
from cslm.errors import MissingExtraError, UserError
from cslm.model.lora import LoraOptions
from cslm.training import finetune, pretrain
from tests.training.processes import ROOT
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world, the text model of it, and a model pre-trained with LoRA, its head untied."""
    root = make_world(tmp_path_factory.mktemp("world"))
    run(root, {**text_lm_config(root), "training": {**text_lm_config(root)["training"], "max_steps": 2}})
    run(root, lora_config(root))
    return root


def lora_config(root, output="pretrain", **lora):
    config = pretrain_config(root, weight_decay=0.1, zero_stage=2)
    return {**config, "output": output, "untie_head": True, "lora": {"rank": 4, "dropout": 0.1, **lora}}


def run(root, config, *arguments, verb=pretrain):
    verb.main(["--config", str(write_config(root / "run.yaml", config)), *arguments])


def weights(folder):
    return load_file(folder / "model.safetensors")


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_model_is_that_of_a_full_run_but_for_frozen_rows(world, monkeypatch):
    run(world, {**lora_config(world, "full"), "lora": None})
    found, full, base = (weights(world / name) for name in ("pretrain", "full", "text_lm"))
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in full.items()}
    first = json.loads((world / "pretrain" / "config.json").read_text())["speech"]["num_text_ids"]
    for name, text in (("model.embed_tokens.weight", base["model.embed_tokens.weight"]),
                       ("lm_head.weight", base["model.embed_tokens.weight"])):  # fmt: skip
        assert torch.equal(found[name][:first], text[:first])
        assert not torch.equal(full[name][:first], text[:first])
        assert not torch.equal(found[name][first:], full[name][first:])
    assert not torch.equal(found["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    assert torch.equal(found["model.norm.weight"], base["model.norm.weight"])
    monkeypatch.setitem(sys.modules, "peft", None)
    AutoModelForCausalLM.from_pretrained(world / "pretrain")


def test_a_resumed_run_is_the_same(world):
    for steps in ("2", "4"):
        run(world, lora_config(world, "again"), "--training.max_steps", steps)
    assert losses(world / "again") == losses(world / "pretrain")
    found, expected = weights(world / "again"), weights(world / "pretrain")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_finetune_with_frozen_rows_on_zero_3_in_bf16(world):
    config = lora_config(world, "finetune", train_rows="none", target_modules=["q_proj", "v_proj"])
    config |= {"model": {"base": "pretrain"}, "tokenizer_card": None, "untie_head": False}
    config["training"]["device"] |= {"zero_stage": 3, "precision": "bf16", "gradient_checkpointing": True}
    run(world, config, verb=finetune)
    found, base = weights(world / "finetune"), weights(world / "pretrain")
    changed = {name.split(".")[-2] for name in base if not torch.equal(found[name], base[name].bfloat16())}
    assert changed == {"q_proj", "v_proj"}
    assert found["lm_head.weight"].dtype == torch.bfloat16


def test_rows_learn_first_and_units_start_from_the_codec(world):
    config = {**pretrain_config(world), "output": "rows", "rows_first_steps": 2, "initialisation": "codec_centroids"}
    run(world, config, "--training.max_steps", "2")
    found, base = weights(world / "rows"), weights(world / "text_lm")
    first = json.loads((world / "rows" / "config.json").read_text())["speech"]["num_text_ids"]
    changed = {name for name in base if not torch.equal(found[name][:first], base[name][:first])}
    assert changed == set()
    run(world, config)
    assert not torch.equal(weights(world / "rows")["model.norm.weight"], base["model.norm.weight"])


def test_mistakes_are_named(world, tmp_path, monkeypatch):
    def refused(message, config, error=UserError):
        with pytest.raises(error, match=message):
            run(world, {**config, "output": str(tmp_path / f"out-{len(list(tmp_path.iterdir()))}")})

    text = text_lm_config(world)
    refused("rows_first_steps: this run has no units", {**text, "rows_first_steps": 3})
    refused(r"lora\.train_rows new: this run has no units", {**text, "lora": {"rank": 2}})
    refused("rows_first_steps is -1", {**pretrain_config(world), "rows_first_steps": -1})
    refused("freezes the rows", {**lora_config(world, train_rows="none"), "rows_first_steps": 3})
    refused("choose one of new, all, none", lora_config(world, train_rows="some"))
    refused("rang", lora_config(world, rang=3))
    card = load_card(world / "tokenizer")
    save_card(card, tmp_path / "bare.yaml", {"scale": torch.zeros(2).numpy()})
    bare = {"tokenizer_card": str(tmp_path / "bare.yaml"), "initialisation": "codec_centroids"}
    refused("codec_centroids: .*; choose another: mean_and_covariance, mean, ", {**pretrain_config(world), **bare})
    monkeypatch.setitem(sys.modules, "peft", None)
    refused(r"the section lora needs the package peft: pip install 'cslm\[lora\]'", lora_config(world),
            MissingExtraError)  # fmt: skip


def test_the_keys_of_the_pages_work_on_the_command_line():
    recipe = str(ROOT / "recipes" / "own_corpus" / "pretrain.yaml")
    keys = ["--lora.rank", "16", "--rows_first_steps", "500", "--initialisation", "codec_centroids"]
    config = parse_configuration(pretrain.PretrainConfig, ["--config", recipe, *keys], "pretrain")
    assert (config.lora, config.rows_first_steps) == (LoraOptions(rank=16), 500)
