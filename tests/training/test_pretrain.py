from __future__ import annotations

import json

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm.codecs.card import load_card
from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.model.compiled_layers import compile_layers
from cslm.training import finetune, language_model, pretrain
from tests.training.processes import ROOT, finish, start
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world, the text model of it, and the pre-trained model."""
    root = make_world(tmp_path_factory.mktemp("world"))
    run(root, text_lm_config(root))
    run(root, pretrain_config(root))
    return root


def run(root, config, *arguments, verb=pretrain):
    verb.main(["--config", str(write_config(root / "run.yaml", config)), *arguments])


def test_scheduled_weights_and_caps_of_a_recipe(world, capsys):
    config = pretrain_config(world, max_tokens=2400)
    config["output"] = "scheduled"
    config["sources"]["asr"]["weight"] = {"values": [1.0, 0.1], "shape": "cosine"}
    config["caps"] = {"tasks": {"translation": 0.2}}
    run(world, config)
    printed = capsys.readouterr().out
    tokens = json.loads((world / "scheduled" / "finished.json").read_text())["consumed"]
    assert all(f"{name}: {count:,} tokens" in printed for name, count in tokens.items())
    assert tokens["mt"] / sum(tokens.values()) < 0.3 and tokens["tts"] > tokens["asr"]
    resolved = yaml.safe_load((world / "scheduled" / "config.yaml").read_text())
    assert resolved["sources"]["asr"]["weight"] == {"values": [1.0, 0.1], "at": None, "shape": "cosine"}
    run(world, config)
    assert "already finished" in capsys.readouterr().out


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_text_model_is_a_plain_checkpoint(world):
    model = AutoModelForCausalLM.from_pretrained(world / "text_lm")
    tokenizer = AutoTokenizer.from_pretrained(world / "text_lm")
    assert model.config.model_type == "qwen3"
    assert not hasattr(model.config, "speech")
    assert model.config.vocab_size % 64 == 0
    assert model.config.vocab_size >= len(tokenizer)
    assert tokenizer.chat_template
    assert rows(world / "text_lm")[-1]["loss"] < rows(world / "text_lm")[0]["loss"]


def test_the_pretrained_model_holds_units_and_their_card(world):
    model = AutoModelForCausalLM.from_pretrained(world / "pretrain")
    tokenizer = AutoTokenizer.from_pretrained(world / "pretrain")
    speech = model.config.speech
    assert speech["fingerprint"] == load_card(world / "pretrain" / "speech").fingerprint
    assert tokenizer.convert_tokens_to_ids("<0>") == speech["first_unit_id"]
    assert model.config.architectures == ["Qwen3ForCausalLM"]
    assert (world / "pretrain" / "config.yaml").is_file()
    finished = json.loads((world / "pretrain" / "finished.json").read_text())
    assert finished["versions"]["torch"] == torch.__version__
    assert len(list((world / "pretrain" / ".documents").iterdir())) == 1, "one index, of the translations"


def test_metrics_say_what_was_learnt(world):
    row = rows(world / "pretrain")[-1]
    assert row["step"] == 4
    assert row["tokens"] == sum(row["consumed"].values()) > 800
    assert set(row["consumed"]) == {"asr", "tts", "mt"}
    assert {"asr/text/en", "tts/speech/zh"} <= set(rows(world / "pretrain")[0]["groups"]) | set(row["groups"])


def test_a_finished_run_says_so_and_another_is_refused(world, capsys):
    run(world, pretrain_config(world))
    assert "already finished" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"training\.learning_rate is 0\.003 there and 0\.1 here"):
        run(world, pretrain_config(world), "--training.learning_rate", "0.1")


def test_a_resumed_run_is_the_same(world, capsys):
    config = {**pretrain_config(world), "output": "again"}
    run(world, config, "--training.max_steps", "2")
    run(world, config)
    assert "resuming from step 2" in capsys.readouterr().out
    keys = ("step", "tokens", "loss", "lr", "grad_norm", "groups", "consumed")
    found, expected = rows(world / "again"), rows(world / "pretrain")
    assert [[row[key] for key in keys] for row in found] == [[row[key] for key in keys] for row in expected]


def test_finetune_takes_units_and_card_from_its_base(world):
    config = pretrain_config(world)
    config |= {"output": "finetune", "model": {"base": "pretrain"}, "tokenizer_card": None}
    run(world, config, verb=finetune)
    model = AutoModelForCausalLM.from_pretrained(world / "finetune")
    before = AutoModelForCausalLM.from_pretrained(world / "pretrain")
    assert model.config.speech == before.config.speech
    assert (world / "finetune" / "speech" / "card.yaml").is_file()
    with pytest.raises(UserError, match=r"model\.base"):
        run(world, {**text_lm_config(world), "output": "other"}, verb=finetune)


def test_parts_that_do_not_belong_together_are_refused(world, tmp_path):
    other = make_world(tmp_path / "other", fingerprint="sha256:" + "2" * 64)
    config = {**pretrain_config(world), "output": str(tmp_path / "out")}
    config["tokenizer_card"] = str(other / "tokenizer" / "card.yaml")
    with pytest.raises(UserError, match="another speech tokenizer"):
        run(world, config)
    config["model"] = {"base": "pretrain"}
    with pytest.raises(UserError, match="pretrain"):
        run(world, config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_tokenizer": None}, "text_tokenizer"),
        ({"text_tokenizer": {"vocab_size": 420, "texts": ["nowhere.jsonl"]}}, r"nowhere\.jsonl"),
        ({"model": {"base": "nowhere"}}, "text_tokenizer is only for a model from scratch"),
        ({"model": {}}, "base"),
        ({"sources": {}}, "source"),
        ({"no_such_key": 1}, "no_such_key"),
    ],
)
def test_mistakes_in_the_configuration_are_named(world, tmp_path, change, message):
    config = {**text_lm_config(world), "output": str(tmp_path / "out"), **change}
    with pytest.raises(UserError, match=message):
        run(world, config)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (
            [{"language": "en", "messages": [{"role": "user", "content": None}]}],
            r"d\.jsonl, line 1: .* null or missing",
        ),
        ([{"language": "en", "messages": [{"role": "assistant", "content": "Anna. " * 500}]}], "100% of the documents"),
    ],
)
def test_documents_that_cannot_be_learnt_are_refused_before_the_first_step(world, tmp_path, documents, message):
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (tmp_path / "d.jsonl").write_text(lines)
    config = {**text_lm_config(world), "output": str(tmp_path / "out")}
    config["sources"] = {
        **config["sources"],
        "talks": {"task": "instruction", "documents": str(tmp_path / "d.jsonl"), "weight": 9.0},
    }
    with pytest.raises(UserError, match=message):
        run(world, config)
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_a_rate_that_diverges_is_named(world, tmp_path):
    config = {**text_lm_config(world), "output": str(tmp_path / "out")}
    with pytest.raises(UserError, match="training diverged"):
        run(world, config, "--training.learning_rate", "1e30", "--training.optimizer.gradient_clip", "0")


def test_bf16_and_gradient_checkpointing(world, tmp_path):
    config = {**pretrain_config(world), "output": str(tmp_path / "out")}
    config["training"]["max_steps"] = 2
    config["training"]["device"] |= {"precision": "bf16", "gradient_checkpointing": True}
    run(world, config)
    found, expected = rows(tmp_path / "out")[1]["loss"], rows(world / "pretrain")[1]["loss"]
    assert found == pytest.approx(expected, abs=0.05)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.isfinite(model.get_input_embeddings().weight).all()


def test_one_large_micro_batch_is_many_small_ones_also_when_it_changes_on_the_way(world):
    """One row of 300 tokens or three of 128: the same gradients, so the same curve."""
    large = {**pretrain_config(world, tokens_per_micro_batch=400), "output": "large"}
    run(world, large)
    run(world, {**pretrain_config(world), "output": "changed"}, "--training.max_steps", "2")
    run(world, {**pretrain_config(world, tokens_per_micro_batch=400), "output": "changed"})
    for name in ("large", "changed"):
        for one, other in zip(rows(world / name), rows(world / "pretrain"), strict=True):
            for key in ("loss", "grad_norm", "lr", "tokens"):
                assert one[key] == pytest.approx(other[key], rel=1e-5)


def test_a_chat_template_that_is_given_goes_with_the_model(world):
    template = (
        "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (world / "chat.jinja").write_text(template, encoding="utf-8")
    run(world, {**pretrain_config(world), "output": "templated", "chat_template": "chat.jinja"})
    assert AutoTokenizer.from_pretrained(world / "templated").chat_template == template
    with pytest.raises(UserError, match=r"nowhere\.jinja: there is no such file"):
        run(world, {**pretrain_config(world), "output": "other", "chat_template": "nowhere.jinja"})


def test_compiled_layers_learn_the_same(world, monkeypatch):
    models = []

    def compile_quickly(model):
        models.append(model)
        return compile_layers(model, backend="aot_eager")

    monkeypatch.setattr(language_model, "compile_layers", compile_quickly)
    run(world, {**pretrain_config(world, compile=True), "output": "compiled"}, "--training.max_steps", "3")
    assert not [module for module in models[0].modules() if "forward" in vars(module)]  # none written for CPUs
    for one, other in zip(rows(world / "compiled"), rows(world / "pretrain"), strict=False):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
    assert AutoModelForCausalLM.from_pretrained(world / "compiled").config.speech


def test_the_script_runs_on_two_processes_and_gives_the_same_curve(world):
    config = write_config(world / "two.yaml", {**pretrain_config(world), "output": "two"})
    finish(start(2, "recipes/pretrain.py", "--config", str(config), "--local_rank=0"))
    for one, other in zip(rows(world / "two"), rows(world / "pretrain"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


def test_the_script_leaves_with_status_2(world):
    printed = finish(start(1, "recipes/pretrain.py", "--config", "nowhere.yaml"), status=2)
    assert printed.strip().split("\n")[-1].startswith("error: ")
    assert "nowhere.yaml" in printed


RECIPES = {"text_lm": pretrain.PretrainConfig, "pretrain": pretrain.PretrainConfig, "finetune": finetune.FinetuneConfig}
SHIPPED = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if path.stem in RECIPES)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_recipes_parse(path):
    config = load_configuration(RECIPES[path.stem], path)
    assert config.training.max_length <= config.training.tokens_per_micro_batch
    assert config.output == path.stem
