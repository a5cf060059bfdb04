from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

import cslm.model.document_attention  # noqa: F401  (registers the attention)
from cslm.errors import UserError
from cslm.model.loss import LanguageModelLoss
from cslm.training import language_model as runs
from cslm.training import pretrain
from cslm.training.validation import ValidationConfig, Validator
from tests.training.processes import finish, start
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config

VALIDATION = {"eval_steps": 2, "share": 0.2, "max_documents": 6}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp("world"))
    pretrain.main(["--config", str(write_config(root / "text.yaml", text_lm_config(root, max_steps=2)))])
    path = write_config(root / "run.yaml", {**pretrain_config(root), "validation": VALIDATION})
    pretrain.main(["--config", str(path)])
    return root


def rows(folder):
    return [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]


def test_a_look_every_so_many_steps_and_at_the_end(world):
    found = rows(world / "pretrain")
    assert [row["step"] for row in found] == [2, 4]
    assert {"asr/text/en", "tts/speech/zh", "translation/text/zh"} <= found[0]["groups"].keys()
    assert found[-1]["loss"] < found[0]["loss"] and found[-1]["best"]


def test_the_best_model_is_a_whole_checkpoint_with_the_loss_that_was_seen(world, monkeypatch):
    best = json.loads((world / "pretrain" / "best" / "best.json").read_text())
    seen = {}

    def remembered(module, stream, training, output, save, row_training, validator, vocabulary):
        seen["rows"], seen["groups"] = validator.micro_batches, stream.groups

    monkeypatch.setattr(runs, "train", remembered)
    config = {**pretrain_config(world), "output": "again", "validation": VALIDATION}
    pretrain.main(["--config", str(write_config(world / "again.yaml", config))])
    model = AutoModelForCausalLM.from_pretrained(world / "pretrain" / "best", attn_implementation="document").eval()
    module = LanguageModelLoss(model, len(seen["groups"]))
    with torch.no_grad():
        outputs = [module(row) for row in seen["rows"]]
    loss = sum(float(output.weighted_sum) for output in outputs) / sum(row.num_targets for row in seen["rows"])
    assert loss == pytest.approx(best["loss"], rel=1e-5)
    assert (world / "pretrain" / "best" / "speech" / "card.yaml").is_file()


def test_two_processes_see_the_same_and_a_resumed_run_remembers_its_best(world):
    config = {**pretrain_config(world), "output": "two", "validation": {**VALIDATION, "keep_best": False}}
    path = str(write_config(world / "two.yaml", config))
    three = ["--training.max_steps", "3", "--training.checkpoints.save_every", "3"]
    finish(start(2, "recipes/pretrain.py", "--config", path, *three))
    finish(start(1, "recipes/pretrain.py", "--config", path))
    found, wanted = rows(world / "two"), rows(world / "pretrain")
    assert [row["step"] for row in found] == [2, 3, 4]  # the last step of the first run had a look too
    for one, other in zip([found[0], found[2]], wanted, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["groups"] == pytest.approx(other["groups"], rel=1e-3)
    assert not (world / "two" / "best").exists()


def test_when_it_is_due_and_how_often_still():
    validator = Validator(ValidationConfig(3), [], ["a"], None, None)
    assert [step for step in range(1, 11) if validator.is_due(step, 10)] == [3, 6, 9, 10]
    assert [validator.left(step, 10) for step in (0, 3, 9, 10)] == [4, 3, 1, 0]
    assert [validator.left(step, 9) for step in (0, 8, 9)] == [3, 1, 0]


def test_values_out_of_range_are_named():
    with pytest.raises(UserError, match="validation.share is 0.9"):
        ValidationConfig(10, share=0.9).check()
    with pytest.raises(UserError, match="validation.eval_steps is 0"):
        ValidationConfig(0).check()


def test_a_share_that_holds_out_nothing_is_an_error(world):
    config = {**pretrain_config(world), "output": "none", "validation": {"eval_steps": 2, "share": 1e-6}}
    with pytest.raises(UserError, match="validation.share 1e-06 of these sources is no document: raise it"):
        pretrain.main(["--config", str(write_config(world / "none.yaml", config))])
