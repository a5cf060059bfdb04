"""Bases of every family, as users have them, through pre-training and fine-tuning with one and the same YAML."""

from __future__ import annotations

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm.training.finetune import main as finetune
from cslm.training.pretrain import main as pretrain
from tests.sequences.test_templates import family
from tests.worlds.tiny_models import tiny_model
from tests.worlds.tiny_world import make_world, pretrain_config, write_config

# What a user would name: the architecture, whether head and embedding are one, the tokens, whether there is a template.
BASES = {
    "Llama 3 8B": ("llama", False, "llama-3", False),
    "Llama 3 8B Instruct": ("llama", False, "llama-3", True),
    "SmolLM 2 Instruct": ("llama", True, "qwen-2", True),
    "Qwen 2.5 0.5B Instruct": ("qwen2", True, "qwen-2", True),
    "Qwen 2.5 7B": ("qwen2", False, "qwen-2", False),
    "Qwen 3 0.6B": ("qwen3", True, "qwen-3", True),
    "Gemma 3 1B": ("gemma3_text", True, "gemma", False),
    "Gemma 3 1B Instruct": ("gemma3_text", True, "gemma", True),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("base", BASES)
def test_one_yaml_trains_them_all(world, base):
    architecture, tied, tokens, is_instruct = BASES[base]
    tokenizer, end_of_turn = family(tokens)
    if not is_instruct:
        tokenizer.chat_template = None
    tokenizer.save_pretrained(world / base)
    before = tiny_model(architecture, tied, vocab_size=-(-len(tokenizer) // 64) * 64)
    before.save_pretrained(world / base)
    tokenizer = AutoTokenizer.from_pretrained(world / base)

    config = pretrain_config(world, max_steps=2, tokens_per_step=900, tokens_per_micro_batch=700, max_length=600)
    config |= {"model": {"base": base}, "output": f"{base} pretrained"}
    pretrain(["--config", str(write_config(world / "pretrain.yaml", config))])
    config |= {"model": {"base": f"{base} pretrained"}, "output": f"{base} finetuned", "tokenizer_card": None}
    finetune(["--config", str(write_config(world / "finetune.yaml", config))])

    model = AutoModelForCausalLM.from_pretrained(world / f"{base} finetuned")
    text = AutoTokenizer.from_pretrained(world / f"{base} finetuned")
    shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert (shared, model.config.model_type) == (tied, architecture)
    assert text.convert_tokens_to_ids("<0>") == len(tokenizer)
    assert text.encode("hello", add_special_tokens=False) == tokenizer.encode("hello", add_special_tokens=False)
    stops = model.generation_config.eos_token_id
    if is_instruct:
        assert text.chat_template == tokenizer.chat_template
        assert text.convert_tokens_to_ids(end_of_turn) in (stops if isinstance(stops, list) else [stops])
    num_text, rows_of = len(tokenizer), [it.get_input_embeddings().weight for it in (model, before)]
    moved = rows_of[0][:num_text] - rows_of[1][:num_text]
    assert 0 < moved.abs().max() < 0.1  # two runs of two steps at a rate of 0.003
    rows = (world / f"{base} finetuned" / "metrics.jsonl").read_text().splitlines()
    groups = json.loads(rows[-1])["groups"]
    assert all(0 < loss < 12 for loss in groups.values()) and {"asr/text/en", "tts/speech/zh"} <= groups.keys()
