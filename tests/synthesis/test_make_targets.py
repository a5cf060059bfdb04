"""Targets to imitate: greedy, exactly once, the same bytes however they are made, truncated ones marked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.model.frozen_llm import open_frozen_llm
from cslm.sequences.task_pool import CELLS, read_pool
from cslm.synthesis.drawn_prompts import DrawnPrompts, pool_for
from cslm.synthesis.make_targets import MakeTargetsConfig, main, make_targets
from cslm.units.sample_store import SampleStore
from tests.worlds.tiny_llm import SENTENCES, make_llm


@pytest.fixture(scope="module")
def llm(tmp_path_factory) -> Path:
    return make_llm(tmp_path_factory.mktemp("llm") / "tiny")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "manifest.jsonl"
    said = [*SENTENCES, "", *reversed(SENTENCES)]
    write_manifest((Utterance(f"u{i}", f"{i}.wav", text, "en") for i, text in enumerate(said)), path)
    return path


def config(llm: Path, manifest: Path, output: Path, **changes: object) -> MakeTargetsConfig:
    values = {"max_new_tokens": 12, "batch_size": 4, "utterances_per_shard": 4, "prompts": 2, "device": "cpu"}
    return MakeTargetsConfig([str(manifest)], str(llm), str(output), **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(llm, manifest, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("targets") / "store"
    make_targets(config(llm, manifest, output))
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_every_transcript_is_answered_under_its_prompts(whole):
    store = SampleStore.open(whole, "targets")
    assert len(store) == 2 * (2 * len(SENTENCES))
    rejected = [json.loads(line) for line in (whole / "rejected.jsonl").read_text().splitlines()]
    assert rejected == [{"id": "u6", "reason": "it has no transcript"}]
    rows = [store.row(index) for index in range(len(store))]
    asked = {(row["id"], row["task"], row["wording"], row["target_language"]) for row in rows}
    assert len(asked) == len(rows)
    pool = read_pool()
    assert all(row["cell"] == "seen" and not pool.tasks[row["task"]].held_out for row in rows)
    assert len({row["task"] for row in rows}) > 3


def test_targets_are_what_the_model_writes_greedily(whole, llm):
    """Against transformers' own template and ``generate``, one at a time."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llm).eval(), AutoTokenizer.from_pretrained(llm)
    ends = open_frozen_llm(llm).end_ids
    store = SampleStore.open(whole, "targets")
    lengths = set()
    for row in (store.row(index) for index in range(len(store))):
        message = {"role": "user", "content": row["before"] + row["text"] + row["after"]}
        text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True).rstrip(" ")
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found = model.generate(ids, do_sample=False, max_new_tokens=12, eos_token_id=sorted(ends))[
                0, ids.shape[1] :
            ]
        ended = found[-1].item() in ends
        assert row["target"].tolist() == found[: len(found) - ended].tolist()
        assert row["truncated"] is not ended
        assert row["answer"] == open_text(tokenizer, row["target"].tolist())
        lengths.add(len(found))
    assert max(lengths) == 12


def open_text(tokenizer: object, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)  # type: ignore[attr-defined]


def test_two_processes_and_a_killed_run_give_the_same_bytes(whole, llm, manifest, tmp_path):
    make_targets(config(llm, manifest, tmp_path / "two", num_workers=2))
    assert contents(tmp_path / "two") == contents(whole)
    options = {"max_new_tokens": 12, "batch_size": 4, "utterances_per_shard": 4, "prompts": 2, "device": "cpu"}
    given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "tools/make_targets.py", str(manifest), "--llm", str(llm)]
    killed = subprocess.Popen([*command, "--output", str(tmp_path / "killed"), *given])
    while not any((tmp_path / "killed").glob("shard-*")) and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    main([str(manifest), "--llm", str(llm), "--output", str(tmp_path / "killed"), *given])
    assert contents(tmp_path / "killed") == contents(whole)


def test_another_model_pool_or_setting_is_refused_by_name(whole, llm, manifest, tmp_path):
    other = make_llm(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"holds other work \(language model sha256:\w+, asked for sha256:\w+\)"):
        make_targets(config(other, manifest, whole))
    with pytest.raises(UserError, match="max_new_tokens 12, asked for 13"):
        make_targets(config(llm, manifest, whole, max_new_tokens=13))
    pool = tmp_path / "pool.yaml"
    pool.write_text("tasks: {summary: {wordings: {en: {seen: [Sum up.]}}}}\n")
    with pytest.raises(UserError, match="task pool"):
        make_targets(config(llm, manifest, whole, pool=str(pool), prompts=1))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"condition": "task"}, "condition is 'task': choose one of none, continuation, tasks"),
        ({"tasks": ["sumary"]}, "the pool has no task 'sumary'"),
        ({"cells": ["unseen"]}, "there is no cell 'unseen'"),
        ({"condition": "none", "cells": ["unseen_wordings"]}, "wants unseen wordings of seen tasks, and of none"),
        ({"prompts": -1}, "prompts is -1"),
        ({"condition": "none", "tasks": ["summary"]}, "tasks is given, and the condition none does not read it"),
        ({"condition": "continuation", "tasks": ["summary"]}, "tasks is given, and the condition continuation does"),
        ({"dtype": "int8"}, "--dtype is 'int8'"),
        ({"llm": "nowhere"}, "cannot be opened"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(llm, manifest, tmp_path, changes, told):
    given = config(llm, manifest, tmp_path / "store")
    for key, value in changes.items():
        setattr(given, key, value)
    with pytest.raises(UserError, match=told):
        make_targets(given.__class__(**vars(given)))
    assert not (tmp_path / "store").exists()


def test_a_prompt_that_leaves_no_room_is_rejected_by_its_length(llm, tmp_path):
    path = tmp_path / "manifest.jsonl"
    said = [SENTENCES[0], " ".join(SENTENCES * 20)]
    write_manifest((Utterance(f"u{i}", f"{i}.wav", text, "en") for i, text in enumerate(said)), path)
    header = make_targets(config(llm, path, tmp_path / "store", condition="none", prompts=1))
    assert (header.num_rows, header.num_rejected) == (1, 1)
    assert "no room for 12 more in the model's context of 512" in (tmp_path / "store" / "rejected.jsonl").read_text()


def test_an_utterance_in_a_language_without_wordings_vanished(llm, tmp_path):
    path, pool = tmp_path / "manifest.jsonl", tmp_path / "pool.yaml"
    write_manifest((Utterance(f"u{i}", f"{i}.wav", SENTENCES[0], code) for i, code in enumerate(("en", "de"))), path)
    wordings = {
        "en": {"seen": [f"{i} words" for i in range(8)], "unseen": ["More."]},
        "de": {"seen": [f"{i} Wörter" for i in range(8)]},
    }
    pool.write_text(json.dumps({"tasks": {"count": {"wordings": wordings}}}), encoding="utf-8")
    given = config(llm, path, tmp_path / "store", pool=str(pool), cells=["unseen_wordings"], prompts=1)
    header = make_targets(given)
    assert (header.num_rows, header.num_rejected) == (1, 1)
    assert "the pool has no wording in de for any of the cells" in (tmp_path / "store/rejected.jsonl").read_text()


def test_conditions(llm, manifest, tmp_path):
    make_targets(config(llm, manifest, tmp_path / "none", condition="none"))
    nothing = SampleStore.open(tmp_path / "none", "targets").row(0)
    assert (nothing["task"], nothing["before"], nothing["after"]) == ("none", "", "")
    make_targets(config(llm, manifest, tmp_path / "blsp", condition="continuation"))
    assert set(SampleStore.open(tmp_path / "blsp", "targets").column("task").tolist()) == {"continuation"}


def test_the_cells_of_the_grid_do_not_overlap():
    pool = pool_for("tasks", read_pool(), None)
    drawn = DrawnPrompts(pool, list(CELLS), 0, 0).of("u1", "en")
    assert len({prompt for _, prompt in drawn}) == len(drawn)
    for cell, prompt in drawn:
        unseen_wording, unseen_task = CELLS[cell]
        assert pool.is_unseen(prompt, "en") == unseen_wording
        assert pool.tasks[prompt.task].held_out == unseen_task


def test_prompts_are_drawn_by_seed_and_sample_and_spread_over_tasks():
    pool = pool_for("tasks", read_pool(), None)
    drawn = DrawnPrompts(pool, ["seen"], 7, 0)
    assert drawn.of("u1", "en") == drawn.of("u1", "en")
    assert len({prompt.task for _, prompt in drawn.of("u1", "en")}) == 7
    assert drawn.of("u1", "en") != drawn.of("u2", "en")
    assert drawn.of("u1", "en") != DrawnPrompts(pool, ["seen"], 7, 1).of("u1", "en")
