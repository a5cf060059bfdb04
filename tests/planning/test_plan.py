"""A plan of the tiny world's runs, beside what they then do."""

from __future__ import annotations

import json

import pytest

from cslm.errors import UserError
from cslm.model.backbone import load_text_tokenizer
from cslm.model.lora import LoraOptions
from cslm.planning import plan as planning
from cslm.planning.activation_memory import ActivationMemory, activation_memory
from cslm.planning.plan import PlanConfig
from cslm.planning.planned_memory import ModelSize, Offload, checkpoint_bytes, model_bytes, stage_memory
from cslm.training.pretrain import main as pretrain
from tests.docs.pages import commands
from tests.training.processes import ROOT
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_models import FAMILIES, tiny_model
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config

EIGHT_BILLION = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336,
                 "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}  # fmt: skip
NOTHING = ActivationMemory(0, 0, 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The tiny world with a text model in it."""
    root = make_world(tmp_path_factory.mktemp("world"))
    pretrain(["--config", str(write_config(root / "text_lm.yaml", text_lm_config(root)))])
    return root


def planned(path, *more: str) -> dict:
    """The plan of a YAML file, as the command writes it."""
    file = path.with_suffix(".plan.json")
    given = [] if "--config" in more else ["--config", str(path)]
    planning.main([*given, "--json", str(file), *more])
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_run_does_what_was_planned(world, capsys):
    path = write_config(world / "pretrain.yaml", pretrain_config(world, zero_stage=1, max_tokens=9000))
    found = planned(path, "--cpu", "true", "--gpu_memory_gib", "1", "--peak_tflops", "0.1")
    assert found["notes"] == []
    assert not (world / "pretrain").exists(), "a plan writes nothing"
    told = capsys.readouterr().out
    assert "ZeRO" in told and "1*" in told and "operations of the model" in told
    pretrain(["--config", str(path)])
    done = json.loads((world / "pretrain" / "finished.json").read_text())
    assert found["steps"] == done["steps"]
    assert done["tokens"] == pytest.approx(found["tokens"], rel=0.1)
    for source in found["sources"]:
        assert source["documents"] == (80 if source["task"] in ("asr", "tts") else 40)
        epochs = done["consumed"][source["name"]] / source["tokens"]
        assert epochs == pytest.approx(source["epochs"], rel=0.15)
    files = [file for file in (world / "pretrain" / "checkpoints").rglob("*.pt") if file.is_file()]
    assert sum(file.stat().st_size for file in files) == pytest.approx(found["disk"]["checkpoint"], rel=0.15)
    weights = (world / "pretrain" / "model.safetensors").stat().st_size
    assert weights == pytest.approx(found["disk"]["model"], rel=0.05)
    assert found["parameters"] == pytest.approx(weights / 4, rel=0.05)


def test_a_negative_weight_was_not_named(world):
    config = pretrain_config(world)
    name = next(iter(config["sources"]))
    config["sources"][name]["weight"] = -0.5
    with pytest.raises(UserError, match=f"the weight of the source {name} is -0.5"):
        planned(write_config(world / "negative.yaml", config))


def test_the_operations_are_those_that_the_run_counts(world):
    config = pretrain_config(world, peak_tflops=1.0, log_every=1, max_tokens=3000) | {"output": "counted"}
    path = write_config(world / "counted.yaml", config)
    found = planned(path)
    pretrain(["--config", str(path)])
    rows = [json.loads(line) for line in (world / "counted" / "metrics.jsonl").read_text().splitlines()]
    tokens = [after["tokens"] - before["tokens"] for before, after in zip([{"tokens": 0}, *rows], rows, strict=False)]
    counted = sum(row["mfu"] * 1e12 * count / row["tokens_per_sec"] for row, count in zip(rows, tokens, strict=True))
    assert counted == pytest.approx(found["flops"] * rows[-1]["tokens"] / found["tokens"], rel=0.1)


def test_new_rows(world):
    found = planned(write_config(world / "rows.yaml", pretrain_config(world)))
    num_text = len(load_text_tokenizer(str(world / "text_lm")))
    assert found["new_rows"] == 448 - num_text  # 12 units and 4 markers, rounded up to a multiple of 64
    assert found["new_parameters"] == found["new_rows"] * 32
    untied = planned(world / "rows.yaml", "--untie_head", "true")
    assert untied["parameters"] == found["parameters"] + 448 * 32
    assert untied["new_parameters"] == 2 * found["new_parameters"]


def test_what_is_missing_is_named_and_the_rest_is_told(world, capsys):
    config = pretrain_config(world)
    config["sources"]["tts"]["store"] = "nowhere"
    found = planned(write_config(world / "missing.yaml", config))
    sources = {source["name"]: source for source in found["sources"]}
    assert sources["tts"]["tokens"] is None and sources["asr"]["tokens"] > 0
    assert [note for note in found["notes"] if note.startswith("tts: ") and "nowhere" in note]
    assert "not counted: tts: " in capsys.readouterr().out
    assert len(found["memory"]["stages"]) == 8


def test_eight_billion_without_their_weights(world):
    """The paper's model, of whose parts nothing is there: 8 B parameters in seconds, on any machine."""
    config = pretrain_config(world, precision="bf16", tokens_per_step=4096, tokens_per_micro_batch=4096)
    config |= {"model": {"architecture": EIGHT_BILLION}, "tokenizer_card": "cosyvoice2"}
    found = planned(write_config(world / "large.yaml", config), "--num_processes", "24", "--gpu_memory_gib", "80")
    assert found["parameters"] == 8_030_261_248 + found["new_parameters"]
    assert found["new_rows"] == 6592  # 6,561 units and 4 markers, rounded up
    stages = {(stage["stage"], stage["checkpointing"]): stage for stage in found["memory"]["stages"]}
    assert not stages[0, True]["fits"] and stages[1, True]["fits"]
    assert stages[2, True]["activations"] < stages[2, False]["activations"] / 5
    assert any("text tokenizer" in note for note in found["notes"])


def test_the_command_of_the_page(world, tmp_path):
    found = commands("docs/before_and_during_a_run.md")
    (words,) = [command.words[2:] for command in found if "recipes/plan.py" in command.line]
    words[words.index("--data_root") + 1] = str(tmp_path)
    assert words[0] == "--config" and (ROOT / words[1]).is_file()
    found = planned(tmp_path / "own.yaml", *words, "--model.base", str(world / "text_lm"))
    assert found["hours"] > 0 and [source["name"] for source in found["sources"]] == ["asr", "tts"]
    assert any("tokenizer/card.yaml" in note for note in found["notes"])


def test_a_model_that_is_not_there_cannot_be_told(world):
    config = pretrain_config(world) | {"model": {"base": "no_such_folder/model"}}
    with pytest.raises(UserError, match="no_such_folder"):
        planned(write_config(world / "none.yaml", config))


@pytest.mark.parametrize(("name", "value"), [("num_processes", 0), ("mfu", 1.5), ("gpu_memory_gib", -1.0)])
def test_a_slip_is_named(world, name, value):
    with pytest.raises(UserError, match=name):
        PlanConfig(output="x", sources={}, training=training_config(max_steps=1), model=None, **{name: value})


def test_states_by_stage():
    """A million parameters on four processes, in units of a million bytes."""
    config = training_config(max_steps=1, precision="bf16")
    million = ModelSize(10**6)
    found = [stage_memory(stage, million, config, 4, NOTHING) for stage in range(4)]
    assert [(m.weights, m.masters, m.optimizer, m.gradients) for m in found] == [
        (2e6, 4e6, 8e6, 2e6),
        (2e6, 1e6, 2e6, 2e6),
        (2e6, 1e6, 2e6, 0.5e6),
        (2.5e6, 1e6, 2e6, 0.5e6),
    ]
    assert [checkpoint_bytes(stage, million, config) for stage in range(4)] == [14e6, 14e6, 14e6, 12e6]
    full = training_config(max_steps=1)
    assert [checkpoint_bytes(stage, million, full) for stage in range(4)] == [12e6, 16e6, 16e6, 12e6]


def test_frozen_parameters_have_neither_gradients_nor_states():
    """Of a million parameters 900,000 are frozen, and 40,000 are merged when the model is written."""
    config, model = training_config(max_steps=1, precision="bf16"), ModelSize(10**6, frozen=900_000, added=40_000)
    found = [stage_memory(stage, model, config, 4, NOTHING) for stage in range(4)]
    assert [(m.weights, m.masters, m.optimizer, m.gradients) for m in found] == [
        (2e6, 4e5, 8e5, 2e5),
        (2e6, 1e5, 2e5, 2e5),
        (2e6, 1e5, 2e5, 0.5e5),
        (2.5e6, 1e5, 2e5, 0.5e5),
    ]
    assert [checkpoint_bytes(stage, model, config) for stage in range(4)] == [3.2e6, 3.2e6, 3.2e6, 3e6]
    assert model_bytes(model, config) == 1.92e6


def test_what_is_offloaded_lives_on_the_host():
    config, million = training_config(max_steps=1, precision="bf16"), ModelSize(10**6)
    found = stage_memory(2, million, config, 4, NOTHING, Offload(optimizer=True))
    assert (found.weights, found.masters, found.optimizer, found.gradients) == (2e6, 0, 0, 0)
    assert found.host == 1e6 + 2e6 + 1e6
    found = stage_memory(3, million, config, 4, NOTHING, Offload(optimizer=True, weights=True))
    assert (found.weights, found.host) == (2e6, 1e6 + 2e6 + 1e6 + 0.5e6)


def test_settings_that_offload_are_looked_at(world, capsys):
    path = write_config(world / "offload.yaml", pretrain_config(world, zero_stage=3, precision="bf16"))
    more = ("--training.device.deepspeed", "recipes/deepspeed/zero3_offload.json")
    stages = [planned(path, *given)["memory"]["stages"][3] for given in ((), more)]
    assert stages[0]["host"] == 0 and stages[0]["optimizer"] > 0
    assert stages[1]["host"] > 0 == stages[1]["optimizer"] and stages[1]["peak"] < stages[0]["peak"]
    assert "host" in capsys.readouterr().out


def test_lora_needs_less(world):
    path = write_config(world / "lora.yaml", pretrain_config(world))
    full, lora, frozen = (
        planned(path, *more) for more in ((), ("--lora.rank", "2"), ("--lora.rank", "2", "--lora.train_rows", "none"))
    )
    assert frozen["trained_parameters"] < lora["trained_parameters"] < full["trained_parameters"] == full["parameters"]
    assert lora["flops"] < full["flops"] and lora["disk"]["model"] == full["disk"]["model"]
    assert lora["memory"]["stages"][2]["optimizer"] < full["memory"]["stages"][2]["optimizer"]


def test_caps_and_schedules_are_those_of_the_run(world):
    config = pretrain_config(world, max_tokens=40_000, tokens_per_step=300)
    config["sources"]["mt"]["weight"] = {"values": [0.0, 1.0], "shape": "linear"}
    config |= {"caps": {"tasks": {"tts": 0.25}}, "output": "capped"}
    path = write_config(world / "capped.yaml", config)
    found = {source["name"]: source["share"] for source in planned(path)["sources"]}
    pretrain(["--config", str(path)])
    done = json.loads((world / "capped" / "finished.json").read_text())
    for name, share in found.items():
        assert done["consumed"][name] / done["tokens"] == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_of_every_family_are_found_without_weights(family):
    """Twice the tokens keep twice as much."""
    shape = tiny_model(family, tied=True).config
    few, many = (activation_memory(shape, "document", "bf16", [40] * count, 40, False) for count in (4, 8))
    assert few.kept > 0 and many.kept == pytest.approx(2 * few.kept, rel=0.15)
    assert activation_memory(shape, "document", "bf16", [40] * 4, 40, False, lora=LoraOptions(rank=2)).kept > 0
