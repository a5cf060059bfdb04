"""Textless models: rows of units in the place of text, all else kept; trained, resumed, refused what has text."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.model.extension import embedding_weights
from cslm.planning.inspect_sequences import main as inspect_sequences
from cslm.planning.plan import PlanConfig, plan
from cslm.publishing.model_card import model_card
from cslm.training import finetune, pretrain
from cslm.training.language_model import build_run_model
from cslm.training.run_data import open_data
from tests.training.processes import finish, start
from tests.worlds.textless_world import NUM_UNITS, SCRATCH, make_textless_world, save_text_model, textless_config
from tests.worlds.tiny_world import write_config

FAMILIES = ("llama", "qwen2", "gpt2")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Units, a text model of each family, and one textless model trained from a Qwen2."""
    root = make_textless_world(tmp_path_factory.mktemp("world"))
    for family in FAMILIES:
        save_text_model(root / family, family)
    run(root, textless_config(root, "trained", {"base": "qwen2"}))
    return root


def run(root, config, *arguments, verb=pretrain):
    verb.main(["--config", str(write_config(root / "run.yaml", config)), *arguments])


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def begun(root, config, verb=pretrain.PretrainConfig):
    """The model of a run before its first step, and its data."""
    loaded = load_configuration(verb, write_config(root / "begun.yaml", config))
    data = open_data(loaded, scratch=root / "scratch")
    with torch.random.fork_rng():
        return build_run_model(loaded, data), data


@pytest.mark.parametrize("family", FAMILIES)
def test_all_but_the_rows_of_text_is_kept_bit_for_bit(world, family):
    base = AutoModelForCausalLM.from_pretrained(world / family)
    config = textless_config(world, "new", {"base": family})
    config["training"]["data"] = {"pack": False}  # on transformers 4 a packed GPT-2 is refused
    model, data = begun(world, config)
    before, after = dict(base.named_parameters()), dict(model.named_parameters())
    rows_of = {id(weight) for weight in embedding_weights(base)}
    assert before.keys() == after.keys()
    for name, parameter in before.items():
        if id(parameter) not in rows_of:
            assert torch.equal(parameter, after[name]), name
    assert data.form.vocabulary.size == NUM_UNITS + 1
    assert [weight.shape[0] for weight in embedding_weights(model)] == [128] * len(rows_of)
    spread = embedding_weights(base)[0][: len(AutoTokenizer.from_pretrained(world / family))]
    drawn = embedding_weights(model)[0]
    assert drawn.std().item() == pytest.approx(spread.std().item(), rel=0.2)
    assert model.get_input_embeddings().padding_idx is None, "a row of padding does not learn"


def test_a_trained_model_is_a_plain_folder_of_its_family(world):
    model = AutoModelForCausalLM.from_pretrained(world / "trained")
    tokenizer = AutoTokenizer.from_pretrained(world / "trained")
    config = json.loads((world / "trained" / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"], config["eos_token_id"]) == ("qwen2", 128, NUM_UNITS)
    assert config["speech"]["every_frame"] and config["speech"]["end_of_document"] == NUM_UNITS
    assert config["speech"]["fingerprint"].startswith("sha256:")
    assert tokenizer.get_vocab() == {**{f"<{unit}>": unit for unit in range(NUM_UNITS)}, "<|endoftext|>": NUM_UNITS}
    assert tokenizer.chat_template is None
    generation = json.loads((world / "trained" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == NUM_UNITS
    assert generation["suppress_tokens"] == list(range(NUM_UNITS + 1, 128))
    assert (world / "trained" / "speech" / "card.yaml").is_file()
    assert model.get_input_embeddings().weight.shape[0] == 128
    assert rows(world / "trained")[-1]["loss"] < rows(world / "trained")[0]["loss"]


def test_the_unit_whose_id_was_padding_in_the_base_learns_too(world):
    before, _ = begun(world, textless_config(world, "new", {"base": "qwen2"}))
    after = AutoModelForCausalLM.from_pretrained(world / "trained")
    moved = (before.get_input_embeddings().weight - after.get_input_embeddings().weight).abs().amax(dim=1)
    assert moved[0] > 1e-4 and (moved[:NUM_UNITS] > 1e-4).float().mean() > 0.9, "some units never come"


def test_a_resumed_run_is_the_same(world, capsys):
    config = textless_config(world, "again", {"base": "qwen2"})
    run(world, config, "--training.max_steps", "2")
    run(world, config)
    assert "resuming from step 2" in capsys.readouterr().out
    keys = ("step", "tokens", "loss", "lr", "grad_norm", "groups", "consumed")
    found, expected = rows(world / "again"), rows(world / "trained")
    assert [[row[key] for key in keys] for row in found] == [[row[key] for key in keys] for row in expected]


def test_two_processes_and_zero_give_the_same_curve(world):
    config = textless_config(world, "two", {"base": "qwen2"}, zero_stage=2)
    finish(start(2, "recipes/pretrain.py", "--config", str(write_config(world / "two.yaml", config))))
    for one, other in zip(rows(world / "two"), rows(world / "trained"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_from_scratch_merged_and_trained_further_from_it(world):
    config = textless_config(world, "scratch", {**SCRATCH, "merge_repeats": True}, max_steps=2)
    run(world, config)
    section = json.loads((world / "scratch" / "config.json").read_text())["speech"]
    assert section["every_frame"] is False
    further = textless_config(world, "further", {"base": "scratch"}, max_steps=2) | {"tokenizer_card": None}
    run(world, further, verb=finetune)
    assert json.loads((world / "further" / "config.json").read_text())["speech"] == section
    assert (world / "further" / "speech" / "card.yaml").is_file()
    _, merged = begun(world, further | {"output": "x"})
    _, frames = begun(world, textless_config(world, "y", {"base": "qwen2"}))
    lengths = [len(data.stream.sources["mixed"].sequence(0, 0)) for data in (merged, frames)]
    assert lengths[0] < lengths[1]
    with pytest.raises(UserError, match=r"merge_repeats is False, and the base .*scratch was trained with True"):
        run(world, textless_config(world, "z", {"base": "scratch", "merge_repeats": False}))


def test_lora_and_the_rows_first_learn_a_textless_model(world):
    config = textless_config(world, "lora", {"base": "qwen2"}, max_steps=2)
    run(world, config | {"lora": {"rank": 2}, "rows_first_steps": 1})
    model = AutoModelForCausalLM.from_pretrained(world / "lora")
    assert model.get_input_embeddings().weight.shape[0] == 128
    start = begun(world, config | {"output": "new"})[0]
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert moved.count(True) > 2 and not torch.equal(model.lm_head.weight[NUM_UNITS], start.lm_head.weight[NUM_UNITS])


def test_rows_may_start_from_the_codec(world):
    config = textless_config(world, "new", {"base": "llama"})
    drawn = begun(world, config)[0].get_input_embeddings().weight
    placed = begun(world, config | {"initialisation": "codec_centroids"})[0].get_input_embeddings().weight
    assert not torch.equal(drawn[:NUM_UNITS], placed[:NUM_UNITS])
    assert torch.equal(drawn[NUM_UNITS:], placed[NUM_UNITS:]), "what is no unit has no centroid"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": {"hear": {"task": "asr", "store": "units", "weight": 1}}}, "source hear has the task asr, which"),
        ({"sources": {"say": {"task": "dialogue", "store": "units", "weight": 0}}}, "source say has the task dialogue"),
        ({"chat_template": "chat.jinja"}, "chat_template is given, and model.textless"),
        ({"text_tokenizer": {"vocab_size": 300, "texts": []}, "model": SCRATCH | {"textless": True}}, "text_tokenizer"),
        ({"tokenizer_card": None}, "model.textless needs tokenizer_card"),
        ({"model": {"base": "qwen2", "merge_repeats": True}}, "which only a textless model reads"),
    ],
)  # fmt: skip
def test_what_has_text_is_refused_by_name(world, change, message):
    with pytest.raises(UserError, match=message):
        run(world, textless_config(world, "refused", {"base": "qwen2"}) | change)
    assert not (world / "refused" / "metrics.jsonl").exists()


def test_text_is_not_added_to_a_textless_base(world):
    config = textless_config(world, "refused", {"base": "trained", "textless": False})
    with pytest.raises(UserError, match=r"the base .*trained is textless: set model\.textless true"):
        run(world, config)


def test_a_base_with_units_beside_its_text_is_refused(world, tmp_path):
    run(world, textless_config(world, "both", {"base": "llama", "textless": False}, max_steps=1))
    with pytest.raises(UserError, match=r"model\.textless: the base .*both has units beside its text"):
        run(world, textless_config(world, "refused", {"base": "both"}))


def test_a_plan_counts_the_rows_that_are_left(world):
    config = textless_config(world, "planned", {"base": "llama"})
    planned = plan(load_configuration(PlanConfig, write_config(world / "plan.yaml", config)))
    model, _ = begun(world, config)
    assert planned["parameters"] == sum(p.numel() for p in model.parameters())
    assert planned["new_rows"] == 128


def test_documents_are_shown_as_units_and_their_end(world, capsys):
    path = write_config(world / "inspect.yaml", textless_config(world, "shown", {"base": "llama"}))
    inspect_sequences(["--config", str(path), "--source", "mixed", "--count", "1", "--full", "true"])
    printed = capsys.readouterr().out
    assert "<|endoftext|>" in printed and "speech" in printed and "<sosp>" not in printed


def test_the_model_card_has_units_and_their_end_and_no_markers(world):
    card = model_card(world / "trained", "somebody/trained")
    assert "A textless language model (Qwen2ForCausalLM)" in card and "model.continue_speech(" in card
    assert f"| units | 0 to {NUM_UNITS - 1} |\n| end of a document | {NUM_UNITS} |\n| rows" in card


def test_the_resolved_configuration_says_textless(world):
    assert yaml.safe_load((world / "trained" / "config.yaml").read_text())["model"]["textless"] is True
