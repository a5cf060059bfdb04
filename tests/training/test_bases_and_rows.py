"""Bases whose layers carry something along a row, and bases of the Hub."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from cslm.batches.packing import one_each
from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.model import local_folder
from cslm.planning.lr_find import main as lr_find
from cslm.planning.plan import PlanConfig, plan
from cslm.training import finetune, pretrain, run_data
from tests.worlds.tiny_world import FINGERPRINT, make_world, pretrain_config, text_lm_config, write_config

MAMBA = {"model_type": "mamba", "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp("world"))
    run(root, text_lm_config(root, max_steps=1))
    run(root, pretrain_config(root, max_steps=1) | {"output": "sent"})
    return root


def run(root, config, *arguments, verb=pretrain):
    verb.main(["--config", str(write_config(root / "run.yaml", config)), *arguments])


def mamba(root, output, **training):
    return text_lm_config(root, **training) | {
        "output": output, "model": {"architecture": MAMBA, "attention": "eager"}
    }  # fmt: skip


def test_a_base_with_states_along_the_row_is_refused_before_the_first_step_and_trains_with_one_document_a_row(world):
    told = r"mamba\) .*set training\.data\.pack false"
    config = mamba(world, "states", max_steps=2)
    with pytest.raises(UserError, match=told):
        run(world, config)
    assert not (world / "states").exists()
    path = write_config(world / "states.yaml", config)
    with pytest.raises(UserError, match=told):
        lr_find(["--config", str(path), "--num_steps", "5"])
    with pytest.raises(UserError, match=told):
        plan(load_configuration(PlanConfig, path))
    run(world, config, "--training.data.pack", "false")
    lines = (world / "states" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    planned = plan(load_configuration(PlanConfig, path, "--training.data.pack=false"))
    assert planned["memory"]["tokens"] < 128


def test_one_document_a_row_has_the_curve_of_packed_rows_where_documents_are_apart(world):
    for output, packed in (("packed", "true"), ("alone", "false")):
        config = pretrain_config(world, max_steps=2) | {"output": output}
        run(world, config, "--training.data.pack", packed)
    one, other = ([json.loads(it) for it in (world / name / "metrics.jsonl").read_text().splitlines()]
                  for name in ("packed", "alone"))  # fmt: skip
    for packed, alone in zip(one, other, strict=True):
        assert (packed["tokens"], packed["consumed"]) == (alone["tokens"], alone["consumed"])
        assert packed["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert packed["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-4)


def test_rows_of_one_document_are_as_many_on_every_process():
    rows = one_each([5, 9, 7, 9, 1], 2)
    assert rows == [[1], [3], [2], [0], [4], []]
    assert all(len(left) >= len(right) for left, right in pairwise(rows))


def test_a_model_of_the_hub_is_fine_tuned_as_from_its_folder(world, monkeypatch):
    asked = []

    def fetch(name, revision=None, **_):
        asked.append((name, revision))
        return str(world / "sent")

    monkeypatch.setattr(local_folder, "snapshot_download", fetch)
    config = pretrain_config(world, max_steps=1) | {"tokenizer_card": None}
    base = {"base": "somebody/sent", "revision": "v1"}
    run(world, config | {"output": "of hub", "model": base}, verb=finetune)
    run(world, config | {"output": "of folder", "model": {"base": "sent"}}, verb=finetune)
    assert set(asked) == {("somebody/sent", "v1")}
    speech = [json.loads((world / name / "config.json").read_text())["speech"] for name in ("of hub", "of folder")]
    assert speech[0] == speech[1] and speech[0]["fingerprint"] == FINGERPRINT
    assert (world / "of hub" / "speech" / "card.yaml").is_file()
    weights = [(world / name / "model.safetensors").read_bytes() for name in ("of hub", "of folder")]
    assert weights[0] == weights[1]


def test_a_store_of_another_tokenizer_is_refused_for_a_model_of_the_hub(world, tmp_path, monkeypatch):
    monkeypatch.setattr(local_folder, "snapshot_download", lambda name, **_: str(world / "sent"))
    other = make_world(tmp_path / "other", fingerprint="sha256:" + "2" * 64)
    config = pretrain_config(world, max_steps=1) | {"model": {"base": "somebody/sent"}, "tokenizer_card": None}
    config |= {"output": "refused", "sources": {"asr": {"task": "asr", "store": str(other / "units"), "weight": 1.0}}}
    with pytest.raises(UserError, match="another speech tokenizer"):
        run(world, config, verb=finetune)


def test_a_revision_of_a_folder_is_refused(world):
    config = pretrain_config(world, max_steps=1) | {"model": {"base": "sent", "revision": "v1"}, "output": "x"}
    with pytest.raises(UserError, match=r"model\.revision is 'v1', and model\.base the folder"):
        run(world, config | {"tokenizer_card": None}, verb=finetune)


def test_the_number_of_rows_of_held_out_documents_knows_one_document_a_row(world):
    config = text_lm_config(world) | {"validation": {"eval_steps": 2, "share": 0.2, "max_documents": 6}}
    path = write_config(world / "held.yaml", config | {"output": "held"})
    data = run_data.open_data(
        load_configuration(pretrain.PretrainConfig, path, "--training.data.pack=false"), scratch=world / "scratch"
    )
    assert data.held_out is not None
    assert [len(row.document_lengths) for row in data.held_out.rows()] == [1] * len(data.held_out)
