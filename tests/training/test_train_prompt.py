"""A connector learns on the one loop: what is frozen stays as it is and is saved nowhere; killed is not killed."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.llama.modeling_llama import LlamaAttention

from cslm import CSLMForCausalLM
from cslm.batches.sources import SourceConfig, open_sources
from cslm.errors import UserError
from cslm.training import train_prompt
from tests.training.processes import finish, start
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, prompt_config, write_heard_world
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_world import write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Recordings, a Whisper and a language model, and a run of four steps."""
    root = write_heard_world(tmp_path_factory.mktemp("world"))
    write_whisper(root / "whisper")
    make_llm(root / "llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    run(root)
    return root


def config_of(root, output="prompt", **training):
    return {**prompt_config(root, root / "llm", root / "whisper", **training), "output": output}


def run(root, output="prompt", **training):
    changes = training.pop("changes", {})
    path = write_config(root / f"{output}.yaml", {**config_of(root, output, **training), **changes})
    train_prompt.main(["--config", str(path)])
    return root / output


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_the_checkpoint_holds_what_was_trained_and_names_what_was_not(world):
    folder = world / "prompt"
    assert {name.split(".")[0] for name in weights(folder)} == {"connector"}
    hashes = json.loads((folder / "config.json").read_text())["speech_prompt"]["hashes"]
    assert all(value.startswith("sha256:") for value in hashes.values()) and set(hashes) == {
        "encoder",
        "language model",
    }
    settings = (folder / "speech_prompt.yaml").read_text()
    assert "llm: ../llm" in settings and "model: ../whisper" in settings and str(world) not in settings
    assert losses(folder)[-1] < losses(folder)[0]


def test_checkpoints_to_resume_from_hold_nothing_frozen(world):
    (newest,) = (world / "prompt/checkpoints").glob("step-*4")
    for file in newest.rglob("*.pt"):
        state = torch.load(file, map_location="cpu", weights_only=False)
        names = [name for name in state.get("module") or {} if ".llm." in name]
        assert names == []
    total = sum(file.stat().st_size for file in newest.rglob("*.pt"))
    learning = sum(value.numel() for value in weights(world / "prompt").values())
    assert total < 4 * 4 * learning * 1.5


@pytest.mark.parametrize("zero_stage", [0, 1, 3])
def test_every_stage_gives_the_same_curve(world, zero_stage):
    found = run(world, f"stage{zero_stage}", zero_stage=zero_stage)
    assert losses(found) == pytest.approx(losses(world / "prompt"), rel=1e-5)
    for name, value in weights(world / "prompt").items():
        torch.testing.assert_close(weights(found)[name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(world, zero_stage):
    whole = run(world, f"whole{zero_stage}", zero_stage=zero_stage, max_tokens=960)
    run(world, f"stopped{zero_stage}", zero_stage=zero_stage, max_tokens=960, max_steps=2)
    resumed = run(world, f"stopped{zero_stage}", zero_stage=zero_stage, max_tokens=960)
    assert losses(resumed) == losses(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def test_a_run_that_stopped_in_a_later_epoch_goes_on_as_if_it_had_not(world):
    """Fourteen recordings, which the run reads three times and more; it stops in the second pass."""
    changes = {"sources": {"asr": config_of(world)["sources"]["asr"]}}
    long = {"max_tokens": 2400, "zero_stage": 1, "changes": changes}
    whole = run(world, "epochs", max_steps=10, **long)
    done = json.loads((whole / "finished.json").read_text())
    run(world, "epochs_stopped", max_steps=5, **long)
    state = json.loads(next((world / "epochs_stopped/checkpoints").glob("step-*5/state.json")).read_text())
    epoch = _tokens_of_an_epoch(world)
    assert done["tokens"] > 3 * epoch and epoch < state["tokens"] < done["tokens"]
    resumed = run(world, "epochs_stopped", max_steps=10, **long)
    assert losses(resumed) == losses(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def _tokens_of_an_epoch(world):
    """Of the recordings, each once."""
    form = CSLMForCausalLM.from_pretrained(world / "prompt").processor.form
    source = SourceConfig("audio_asr", 1, manifest=str(world / "manifest.jsonl"))
    opened = open_sources({"asr": source}, form)["asr"]
    return sum(len(opened.sequence(index, index)) for index in range(opened.num_documents))


def test_a_run_goes_on_under_another_stage(world):
    """By way of DeepSpeed's universal checkpoint, which knows nothing of what is frozen."""
    run(world, "changed_stage", zero_stage=1, max_tokens=960, max_steps=2)
    with pytest.raises(UserError, match="ZeRO stage 1, and this run has stage 3, .* resume with stage 1"):
        run(world, "changed_stage", zero_stage=3, max_tokens=960)  # DeepSpeed once stopped with an AssertionError
    _are_alike(run(world, "changed_stage", zero_stage=2, max_tokens=960), world)


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_a_run_of_one_process_goes_on_with_two(world, zero_stage):
    name, settings = f"grown{zero_stage}", {"zero_stage": zero_stage, "max_tokens": 960}
    run(world, name, max_steps=2, **settings)
    path = write_config(world / f"{name}.yaml", config_of(world, name, **settings))
    finish(start(2, "recipes/train_prompt.py", "--config", str(path)))
    _are_alike(world / name, world)


def _are_alike(folder, world):
    """A run of four steps, and one that was never stopped."""
    whole = run(world, "never_stopped", max_tokens=960)
    assert losses(folder) == pytest.approx(losses(whole), rel=1e-5) and len(losses(whole)) == 4
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(folder)[name], value, atol=2e-5, rtol=1e-4)


def test_two_processes_learn_what_one_learns(world):
    path = write_config(world / "two.yaml", config_of(world, "two"))
    finish(start(2, "recipes/train_prompt.py", "--config", str(path)))
    assert losses(world / "two") == pytest.approx(losses(world / "prompt"), rel=1e-5)
    for name, value in weights(world / "prompt").items():
        torch.testing.assert_close(weights(world / "two")[name], value, atol=2e-5, rtol=1e-4)


def test_activations_that_are_computed_twice_are_the_same_curve(world, monkeypatch):
    runs = []
    forward = LlamaAttention.forward

    def counted(self, *given, **more):
        runs.append(torch.is_grad_enabled())
        return forward(self, *given, **more)

    monkeypatch.setattr(LlamaAttention, "forward", counted)
    once = run(world, "once"), runs.count(True)
    runs.clear()
    twice = run(world, "twice", gradient_checkpointing=True), runs.count(True)
    assert losses(twice[0]) == pytest.approx(losses(once[0]), rel=1e-5)
    assert twice[1] > 1.5 * once[1], "the setting was passed over: what is frozen was not in training mode"


def test_packed_or_not_is_the_same_curve(world):
    training = config_of(world)["training"]
    found = run(world, "unpacked", changes={"training": {**training, "data": {"pack": False}}})
    assert losses(found) == pytest.approx(losses(world / "prompt"), rel=1e-5)


def test_muon_updates_the_matrices_of_the_connector(world):
    given = {"optimizer": "muon", "zero_stage": 0, "max_tokens": 960}
    whole = run(world, "muon", **given)
    run(world, "muon_stopped", max_steps=2, **given)
    (file,) = (world / "muon_stopped/checkpoints").glob("step-*2/**/mp_rank_00_model_states.pt")
    state = torch.load(file, map_location="cpu", weights_only=False)
    assert any("momentum" in moments for moments in state["optimizer"]["state"].values())
    resumed = run(world, "muon_stopped", **given)
    assert losses(whole)[-1] < losses(whole)[0] and losses(resumed) == losses(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def test_lora_learns_beside_the_connector(world):
    pytest.importorskip("peft")
    found = run(world, "lora", changes={"lora": {"rank": 2}})
    names = set(weights(found))
    assert any(".lora_A." in name for name in names) and not any("embed" in name for name in names)
    with pytest.raises(UserError, match=r"lora.train_rows is all, and the rows of text stay as they are"):
        run(world, "rows", changes={"lora": {"rank": 2, "train_rows": "all"}})


def test_another_language_model_does_not_go_on_with_a_run(world, tmp_path):
    make_llm(world / "other", seed=1, texts=tuple(" ".join(words) for words in WORDS.values()))
    run(world, "changed", max_tokens=960, max_steps=2)
    (world / "llm").rename(world / "kept")
    (world / "other").rename(world / "llm")
    try:
        with pytest.raises(UserError, match=r"was trained with another vocabulary .*language model sha256"):
            run(world, "changed", max_tokens=960)
    finally:
        (world / "llm").rename(world / "other")
        (world / "kept").rename(world / "llm")


def test_a_run_whose_parts_have_moved_was_told_to_be_deleted(world, tmp_path, capsys):
    whole = run(world, "unmoved", max_tokens=960)
    run(world, "moved", max_tokens=960, max_steps=2)
    for name in ("llm", "whisper"):
        shutil.copytree(world / name, tmp_path / name)
    elsewhere = {
        "model": {"base": str(tmp_path / "llm")},
        "encoder": {"whisper": {"model": str(tmp_path / "whisper")}},
    }
    resumed = run(world, "moved", max_tokens=960, changes=elsewhere)
    assert losses(resumed) == losses(whole)
    assert "the same frozen parts: model.base is " in capsys.readouterr().out
    with pytest.raises(UserError, match="holds another run: start is"):
        run(world, "moved", max_tokens=1200, changes={"start": str(world / "prompt")})


def test_an_unfinished_run_is_finished_by_its_own_command(world):
    folder = run(world, "unfinished", max_tokens=960, max_steps=2)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="finish it with `cslm train-prompt --config"):
        CSLMForCausalLM.from_pretrained(folder)


def test_what_makes_no_sense_is_refused(world):
    for changes, message in (
        ({"losses": {}}, "losses: none is given"),
        ({"connector": {}}, "connector: none is given; give the settings of one of"),
        ({"encoder": {}}, "encoder: none is given"),
        ({"model": {"architecture": {"model_type": "llama"}}}, "train-prompt needs model.base"),
    ):
        with pytest.raises(UserError, match=message):
            run(world, "refused", changes=changes)
    with pytest.raises(UserError, match="muon needs whole matrices: set zero_stage 0"):
        run(world, "refused", optimizer="muon", zero_stage=1)


def test_a_run_in_which_nothing_is_heard_trained_with_a_gradient_of_zero(world):
    changes = {"sources": {"text": config_of(world)["sources"]["text"]}}
    with pytest.raises(UserError, match="none of them hears a recording, so that the connector learns nothing"):
        run(world, "deaf", changes=changes)
