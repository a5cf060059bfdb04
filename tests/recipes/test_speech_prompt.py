"""The recipe of a connector, and the Python of its page, with small parts in the place of those of the Hub."""

from __future__ import annotations

import shutil

import pytest

from cslm import CSLMForCausalLM, cli
from cslm.generation.decoding import DecodingConfig
from tests.docs.pages import blocks
from tests.recipes.conftest import ROOT
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, write_heard_world
from tests.worlds.tiny_llm import make_llm

SHORT = DecodingConfig(max_new_tokens=5)
RECIPE = ROOT / "recipes" / "speech_prompt" / "single_gpu.yaml"
TINY = ["--training.max_steps", "2", "--training.tokens_per_step", "300", "--training.tokens_per_micro_batch", "300"]
TINY += ["--training.max_length", "300", "--training.device.num_threads", "1", "--training.device.precision", "fp32"]
TINY += ["--model.dtype", "float32", "--validation.share", "0.2", "--training.schedule.warmup_steps", "1"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """``DATA`` with a run of the recipe, and ``models``."""
    root = tmp_path_factory.mktemp("world")
    write_heard_world(root / "DATA")
    make_llm(root / "models/llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    write_whisper(root / "models/whisper")
    parts = ["--model.base", str(root / "models/llm"), "--encoder.whisper.model", str(root / "models/whisper")]
    cli.dispatch(["train-prompt", "--config", str(RECIPE), "--data_root", str(root / "DATA"), *parts, *TINY])
    return root


def test_the_recipe_leaves_a_model_that_answers(world, tmp_path, capsys):
    question = world / "DATA/audio/00.wav"
    asked = ["respond", str(world / "DATA/prompt"), str(question), "--instruction", "Write down what is said."]
    cli.dispatch([*asked, "--decoding.max_new_tokens", "5"])
    assert "answer: " in capsys.readouterr().out
    cli.dispatch(["merge", str(world / "DATA/prompt"), str(tmp_path / "whole")])
    assert CSLMForCausalLM.from_pretrained(tmp_path / "whole").is_whole


def test_the_python_of_the_page_runs(world, monkeypatch):
    shutil.copyfile(world / "DATA/audio/00.wav", world / "question.wav")
    monkeypatch.chdir(world)
    monkeypatch.setattr("cslm.generation.prompt_model.DecodingConfig", lambda: SHORT)
    for code in blocks("docs/speech_prompt.md", "python"):
        scope: dict[str, object] = {}
        exec(code, scope)
        assert scope["model"].is_whole is False
        assert len(scope.get("texts", "ab")) == 2
