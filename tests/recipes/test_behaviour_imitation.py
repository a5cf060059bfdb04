"""The recipes of behaviour imitation, with small parts in the place of those of the Hub, from a corpus to the grid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cslm import cli
from cslm.configuration import load_configuration
from cslm.corpora.manifest import read_manifest, write_manifest
from cslm.evaluation.score import parse_score_configuration
from cslm.sequences.task_pool import pool_of
from cslm.training.prompt_config import TrainPromptConfig
from tests.docs.pages import blocks
from tests.recipes.conftest import ROOT
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, write_heard_world
from tests.worlds.small_village import word_times
from tests.worlds.tiny_llm import make_llm

RECIPES = ROOT / "recipes" / "behaviour_imitation"
RUNS = ["tasks", "continuation", "none"]
TINY = ["--training.max_steps", "2", "--training.tokens_per_step", "300", "--training.tokens_per_micro_batch", "300"]
TINY += ["--training.max_length", "300", "--training.device.num_threads", "1", "--training.device.precision", "fp32"]
TINY += ["--model.dtype", "float32", "--validation.share", "0.2", "--training.schedule.warmup_steps", "1"]
TINY += ["--training.device.zero_stage", "0", "--training.device.gradient_checkpointing", "false"]
SHORT = ["--max_new_tokens", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """``DATA`` with a manifest and targets, and ``models``."""
    root = tmp_path_factory.mktemp("world")
    data = write_heard_world(root / "DATA")
    utterances = list(read_manifest(data / "manifest.jsonl"))
    for index, utterance in enumerate(utterances):
        utterance.words = word_times(utterance.text, "en", 0.3 + 0.13 * (index % 7))
    for name in ("manifest.jsonl", "test.jsonl"):
        write_manifest(utterances, data / name)
    make_llm(root / "models/llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    write_whisper(root / "models/whisper")
    return root


@pytest.mark.parametrize("name", RUNS)
def test_every_recipe_loads_and_is_another_in_the_targets_of_its_condition_alone(name):
    config, tasks = (load_configuration(TrainPromptConfig, RECIPES / f"{it}.yaml") for it in (name, "tasks"))
    source = replace(tasks.sources["imitation"], targets=f"targets/{name}")
    assert source.text_words != 0
    assert config == replace(tasks, output=name, sources={"imitation": source})


def test_the_arms_of_the_page_are_flags():
    arms = [["--sources.imitation.text_words", "0"], ["--losses.cross_entropy", "null", "--losses.imitation_kl", "{}"]]
    without, divergence = (load_configuration(TrainPromptConfig, RECIPES / "tasks.yaml", *arm) for arm in arms)
    assert without.sources["imitation"].text_words == 0
    assert divergence.losses.cross_entropy is None
    assert divergence.losses.imitation_kl is not None


def test_the_pool_of_the_page_is_one():
    (pool, *_) = [yaml.safe_load(it) for it in blocks("docs/behaviour_imitation.md", "yaml")]
    assert list(pool_of(pool, "the page").tasks) == ["summary", "translation", "title"]


def test_from_a_manifest_to_the_grid(world):
    data, llm = world / "DATA", str(world / "models/llm")
    targets = ["make-targets", str(data / "manifest.jsonl"), "--llm", llm, *SHORT]
    cli.dispatch([*targets, "--output", str(data / "targets/tasks")])
    cells = "[seen, unseen_wordings, unseen_tasks, unseen_both]"
    grid = ["make-targets", str(data / "test.jsonl"), "--llm", llm, *SHORT, "--cells", cells]
    cli.dispatch([*grid, "--output", str(data / "targets/grid")])
    parts = ["--model.base", llm, "--encoder.whisper.model", str(world / "models/whisper")]
    run = ["train-prompt", "--config", str(RECIPES / "tasks.yaml"), "--data_root", str(data), *parts, *TINY]
    cli.dispatch(run)
    score = ["score", str(data / "tasks"), "--config", str(RECIPES / "score.yaml"), "--data_root", str(data)]
    cli.dispatch([*score, "--output", str(data / "results.json"), "--max_items", "2"])
    found = json.loads((data / "results.json").read_text(encoding="utf-8"))["scores"]["imitation"]
    assert {scores["n"] for scores in found["cells"].values()} == {2}
    assert parse_score_configuration([*score[1:], "--output", "results.json"]).max_items == 500
