"""States of a teacher: those that the model has in a plain call, the same bytes however they are made."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.model.frozen_llm import open_frozen_llm
from cslm.model.loss import last_states
from cslm.sequences.audio_distillation import transcript_ids, transcript_prompt
from cslm.sequences.templates import apply_template
from cslm.synthesis.make_teacher_states import MakeTeacherStatesConfig, main, make_teacher_states
from cslm.units.sample_store import TEACHER_STATES, SampleStore
from tests.worlds.tiny_llm import SENTENCES, make_llm
from tests.worlds.tiny_models import FAMILIES, tiny_model


@pytest.fixture(scope="module")
def llm(tmp_path_factory) -> Path:
    return make_llm(tmp_path_factory.mktemp("llm") / "tiny")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "manifest.jsonl"
    said = [*SENTENCES, "", *(f"{text} {text}" for text in SENTENCES)]
    write_manifest((Utterance(f"u{i}", f"{i}.wav", text, "en") for i, text in enumerate(said)), path)
    return path


def config(llm: Path, manifest: Path, output: Path, **changes: object) -> MakeTeacherStatesConfig:
    values = {"batch_tokens": 200, "utterances_per_shard": 4, "state_type": "float32", "device": "cpu"}
    return MakeTeacherStatesConfig([str(manifest)], str(llm), str(output), **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(llm, manifest, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("states") / "store"
    make_teacher_states(config(llm, manifest, output))
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_a_state_is_the_models_own_behind_the_header_of_the_reply(whole, llm):
    """By transformers alone: its template, its tokenizer, its hidden states."""
    tokenizer, model = AutoTokenizer.from_pretrained(llm), AutoModelForCausalLM.from_pretrained(llm).eval()
    store = SampleStore.open(whole, TEACHER_STATES)
    assert len(store) == 2 * len(SENTENCES)
    for text in SENTENCES:
        row = store.row(store.column("text").tolist().index(text))
        prompt = apply_template(tokenizer, [{"role": "user", "content": text}], add_generation_prompt=True)
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = model(ids, output_hidden_states=True).hidden_states[-1][0, -1].numpy()
        np.testing.assert_allclose(row["state"], expected, atol=1e-5 * np.abs(expected).max())
        assert row["language"] == "en" and 0 < row["num_ids"] < ids.shape[1]


def test_ids_of_the_transcript_are_those_that_stand_in_the_prompt(llm):
    form = open_frozen_llm(llm).form
    prompt = transcript_prompt(form, SENTENCES[0], "en")
    assert form.encoder.decode(transcript_ids(prompt)) == SENTENCES[0]
    assert not prompt.trained.any()


def test_what_has_no_transcript_is_listed(whole):
    rejected = [json.loads(line) for line in (whole / "rejected.jsonl").read_text().splitlines()]
    assert rejected == [{"id": "u6", "reason": "it has no transcript"}]
    store = SampleStore.open(whole, TEACHER_STATES)
    assert store.find("u6") is None and store.row(store.find("u7"))["text"] == f"{SENTENCES[0]} {SENTENCES[0]}"
    assert set(store.header.making.made_with) == {"language model", "template"}


def test_a_transcript_of_blanks_was_taught(llm, tmp_path):
    said = [SENTENCES[0], "   "]
    write_manifest((Utterance(f"u{i}", f"{i}.wav", text, "en") for i, text in enumerate(said)), tmp_path / "m.jsonl")
    make_teacher_states(config(llm, tmp_path / "m.jsonl", tmp_path / "states"))
    (rejected,) = (tmp_path / "states" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected) == {"id": "u1", "reason": "it has no transcript"}


def test_two_processes_and_a_killed_run_give_the_same_bytes(llm, manifest, whole, tmp_path):
    make_teacher_states(config(llm, manifest, tmp_path / "two", num_workers=2))
    assert contents(tmp_path / "two") == contents(whole)
    output = tmp_path / "killed"
    command = [sys.executable, "tools/make_teacher_states.py", str(manifest), "--llm", str(llm)]
    options = ["--output", str(output), "--batch_tokens", "200", "--utterances_per_shard", "4"]
    process = subprocess.Popen([*command, *options, "--state_type", "float32", "--device", "cpu"])
    for _ in range(600):
        if list(output.glob("shard-*.parquet")) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    make_teacher_states(config(llm, manifest, output))
    assert contents(output) == contents(whole)


def test_another_model_is_refused_by_both_names(llm, manifest, whole, tmp_path):
    other = make_llm(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="other work .language model sha256:.* asked for sha256:"):
        make_teacher_states(config(other, manifest, whole))
    store = SampleStore.open(whole, TEACHER_STATES)
    with pytest.raises(UserError, match="another language model"):
        store.check_made_with(open_frozen_llm(other).hashes, "the model of the run")


def test_half_the_bytes_are_near_the_whole(llm, manifest, whole, tmp_path):
    arguments = [str(manifest), "--llm", str(llm), "--output", str(tmp_path / "half"), "--device", "cpu"]
    main(arguments)
    half, full = (SampleStore.open(it, TEACHER_STATES) for it in (tmp_path / "half", whole))
    assert half.row(3)["state"].dtype == np.float16
    np.testing.assert_allclose(half.row(3)["state"], full.row(3)["state"], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_last_states_are_what_the_head_reads(family):
    model, ids = tiny_model(family), torch.arange(3, 12)[None]
    with torch.no_grad():
        states = last_states(model, {"input_ids": ids})
        torch.testing.assert_close(model.get_output_embeddings()(states), model(ids).logits)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"state_type": "int8"}, "give float16 or float32"), ({"dtype": "int8"}, "--dtype is 'int8'"),
     ({"batch_tokens": 0}, "batch_tokens")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(llm, manifest, tmp_path, changes, told):
    with pytest.raises(UserError, match=told):
        make_teacher_states(config(llm, manifest, tmp_path / "store", **changes))
