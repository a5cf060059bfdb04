"""The recipe of LAD, with small parts in the place of those of the Hub: its YAML as it is, two steps, a reply."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cslm import cli
from cslm.configuration import load_configuration
from cslm.training.prompt_config import TrainPromptConfig
from tests.recipes.conftest import ROOT
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, write_heard_world
from tests.worlds.tiny_llm import make_llm

FOLDER = ROOT / "recipes" / "language_aware_distillation"
TINY = ["--training.max_steps", "2", "--training.tokens_per_step", "300", "--training.tokens_per_micro_batch", "300"]
TINY += ["--training.max_length", "300", "--training.device.num_threads", "1", "--training.device.precision", "fp32"]
TINY += ["--model.dtype", "float32", "--validation.share", "0.2", "--connector.query_bank.num_queries", "8"]


def test_the_paper_keeps_what_it_says():
    config = load_configuration(TrainPromptConfig, FOLDER / "train.yaml")
    bank = config.connector.query_bank
    assert (bank.num_queries, bank.gate.selection, bank.gate.teacher_forcing) == (256, "hard", 0.5)
    assert config.training.learning_rate == 5.6e-5 and len(config.languages) == 6
    static = load_configuration(TrainPromptConfig, FOLDER / "static.yaml")
    assert static.connector.query_bank.gate is None and static.losses.language_identification is None
    assert static.training == config.training
    fewer = load_configuration(TrainPromptConfig, FOLDER / "queries_64.yaml")
    assert fewer.connector.query_bank == dataclasses.replace(bank, num_queries=64)
    assert (fewer.losses, fewer.sources, fewer.languages) == (config.losses, config.sources, config.languages)


@pytest.mark.parametrize("name", ["train", "static", "single_gpu"])
def test_the_recipe_leaves_a_model_that_answers(name, tmp_path, capsys):
    data = write_heard_world(tmp_path / "DATA")
    llm = make_llm(tmp_path / "models/llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    whisper = str(write_whisper(tmp_path / "models/whisper"))
    states = ["--llm", str(llm), "--output", str(data / "states"), "--device", "cpu"]
    cli.dispatch(["make-teacher-states", str(data / "manifest.jsonl"), *states])
    parts = ["--model.base", str(llm), "--encoder.whisper.model", whisper, "--connector.query_bank.whisper", whisper]
    parts += ["--languages", "[en, de]"] if name != "static" else []
    cli.dispatch(["train-prompt", "--config", str(FOLDER / f"{name}.yaml"), "--data_root", str(data), *parts, *TINY])
    output = data / {"train": "lad", "static": "static", "single_gpu": "lad_small"}[name]
    terms = json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])["terms"]
    assert ("language_identification" in terms) == (name != "static")
    asked = ["respond", str(output), str(data / "audio/00.wav"), "--decoding.max_new_tokens", "3"]
    cli.dispatch(asked)
    assert "answer: " in capsys.readouterr().out
