"""LAD on the one loop: from a manifest and a teacher's states to a connector; killed is not killed, two are one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.model.speech_prompt.prompt_checkpoint import open_prompt
from cslm.synthesis.make_teacher_states import MakeTeacherStatesConfig, make_teacher_states
from cslm.training import train_prompt
from tests.training.processes import finish, start
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, prompt_config, write_heard_world
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_world import write_config

LOSSES = {"language_identification": {}, "input_distillation": {"weight": 0.5}, "output_distillation": {}}
SOURCE = {"task": "audio_distillation", "manifest": "manifest.jsonl", "teacher_states": "states", "weight": 1,
          "language_exponent": 0.5}  # fmt: skip
BANK = {"num_queries": 6, "whisper": "whisper", "gate": {"width": 8}}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = write_heard_world(tmp_path_factory.mktemp("world"))
    write_whisper(root / "whisper")
    make_llm(root / "llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    states_of(root, root / "llm", "states")
    run(root)
    return root


def states_of(root: Path, llm: Path, name: str) -> None:
    manifest = [str(root / "manifest.jsonl")]
    make_teacher_states(MakeTeacherStatesConfig(manifest, str(llm), str(root / name), device="cpu"))


def config_of(root: Path, output: str, changes: dict, **training: object) -> dict:
    config = prompt_config(root, root / "llm", root / "whisper", **{"learning_rate": 0.003} | training)
    config |= {"languages": ["en", "de"], "connector": {"query_bank": BANK}, "losses": LOSSES}
    return config | {"sources": {"lad": SOURCE}, "output": output} | changes


def run(root: Path, output: str = "lad", changes: dict | None = None, **training: object) -> Path:
    path = write_config(root / f"{output}.yaml", config_of(root, output, changes or {}, **training))
    train_prompt.main(["--config", str(path)])
    return root / output


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_loss_is_told_as_its_mean_and_the_whole_is_their_sum(world):
    for line in lines(world / "lad"):
        terms = line["terms"]
        assert set(terms) == set(LOSSES) and all(value > 0 for value in terms.values())
        whole = terms["language_identification"] + 0.5 * terms["input_distillation"] + terms["output_distillation"]
        assert line["loss"] == pytest.approx(whole)
    assert lines(world / "lad")[-1]["loss"] < lines(world / "lad")[0]["loss"]


def test_the_checkpoint_opens_without_the_whisper_that_its_queries_went_through(world):
    settings = (world / "lad" / "speech_prompt.yaml").read_text()
    assert "whisper: null" in settings.split("connector:")[1].split("long_audio:")[0]
    parts, opened = open_prompt(world / "lad", Runtime())
    weights = load_file(world / "lad" / "model.safetensors")
    assert {name.split(".")[1] for name in weights} == {"queries", "choice", "qformer", "projection"}
    assert opened.languages == ["en", "de"]
    assert torch.equal(parts.prompt.connector.queries, weights["connector.queries"])


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(world, zero_stage):
    """In the middle of what is forced: the draws hang on the step."""
    whole = lines(run(world, f"whole{zero_stage}", zero_stage=zero_stage, max_tokens=960))
    run(world, f"stopped{zero_stage}", zero_stage=zero_stage, max_tokens=960, max_steps=2)
    resumed = lines(run(world, f"stopped{zero_stage}", zero_stage=zero_stage, max_tokens=960))
    assert [line["loss"] for line in resumed] == [line["loss"] for line in whole] and len(whole) == 4


def test_two_processes_learn_what_one_learns(world):
    path = write_config(world / "two.yaml", config_of(world, "two", {}))
    finish(start(2, "recipes/train_prompt.py", "--config", str(path)))
    found, expected = lines(world / "two"), lines(world / "lad")
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in expected], rel=1e-5)


def test_another_teacher_is_refused_by_both_names(world, tmp_path):
    states_of(world, make_llm(tmp_path / "other", seed=1), "others_states")
    source = {**SOURCE, "teacher_states": "others_states"}
    with pytest.raises(UserError, match=r"another language model \(sha256:.*than the model of this run \(sha256:"):
        run(world, "refused", {"sources": {"lad": source}})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"losses": {"language_identification": {}}}, "writes nothing to learn: give one of the losses"),
        ({"connector": {"stacked": {}}}, "needs connector.query_bank.gate, and there is none"),
        ({"languages": ["en"]}, r"tells languages apart, and there are 1 \(en\)"),
        ({"sources": {"lad": {**SOURCE, "loss_weight": 2}}}, "writes no token that is learnt"),
        ({"sources": {"lad": {**SOURCE, "language_exponent": 2}}}, "language_exponent 2"),
        ({"sources": {"lad": {**SOURCE, "teacher_states": None}}}, "needs teacher_states"),
        ({"sources": {"asr": {"task": "audio_asr", "manifest": "manifest.jsonl", "weight": 1}}}, "and there is none"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_the_first_step(world, changes, told):
    with pytest.raises(UserError, match=told):
        run(world, "refused", changes)
