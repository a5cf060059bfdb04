"""XS-CoT on a speech prompt: planned, trained through its stages, two steps each, shortened and asked."""

from __future__ import annotations

import json

import pytest

from cslm import CSLMForCausalLM, cli
from cslm.batches.sources import open_sources
from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig
from cslm.training.prompt_config import TrainPromptConfig
from tests.recipes.conftest import ROOT
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, write_heard_world
from tests.worlds.tiny_llm import make_llm

pytest.importorskip("peft", reason="the extra lora is not installed")
RECIPE = ROOT / "recipes" / "xs_cot"
STAGES = ("prompt_asr", "prompt_explicit", "prompt_compressed", "prompt_direct")
TINY = ["--training.max_steps", "2", "--training.tokens_per_step", "300", "--training.tokens_per_micro_batch", "300"]
TINY += ["--training.max_length", "300", "--training.device.num_threads", "1", "--training.device.precision", "fp32"]
TINY += ["--model.dtype", "float32", "--training.device.gradient_checkpointing", "false", "--lora.rank", "2"]


def of_stage(stage, root) -> list[str]:
    parts = ["--model.base", str(root / "models/llm"), "--encoder.whisper.model", str(root / "models/whisper")]
    return ["--config", str(RECIPE / f"{stage}.yaml"), "--data_root", str(root), *parts, *TINY]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Questions with their chains, and the stages one after another."""
    root = tmp_path_factory.mktemp("world")
    write_heard_world(root / "corpus")
    (root / "corpus/dialogues.jsonl").rename(root / "corpus/chains.jsonl")
    (root / "asr").symlink_to(root / "corpus")
    make_llm(root / "models/llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    write_whisper(root / "models/whisper")
    for stage in STAGES:
        cli.dispatch(["train-prompt", *of_stage(stage, root)])
    return root


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_planned(world, stage, capsys):
    cli.dispatch(["plan", *of_stage(stage, world)])
    assert "vectors: " in capsys.readouterr().out


def test_the_chain_becomes_shorter_and_the_answer_does_not(world):
    form = CSLMForCausalLM.from_pretrained(world / "prompt_compressed").processor.form
    config = load_configuration(TrainPromptConfig, RECIPE / "prompt_compressed.yaml").sources["chains"]
    for key in ("manifest", "documents"):
        setattr(config, key, str(world / getattr(config, key)))
    source = open_sources({"chains": config}, form)["chains"]
    whole, shortened = (source.sequence(0, 0, progress) for progress in (0.0, 1.0))
    said = [
        "".join(text for span, text in form.span_texts(document) if span.role == "assistant")
        for document in (whole, shortened)
    ]
    record = json.loads((world / "corpus/chains.jsonl").read_text().splitlines()[0])
    assert said[0].count("...") == 0 and said[1].count("...") == 1  # the thought alone has more than four words
    assert all(record["answer_text"] in text for text in said)
    assert [label for label in ("Question:", "Translation:", "Thought:", "Answer:") if label not in said[0]] == []
    assert len(whole.clips) == len(shortened.clips) == 1


def test_a_checkpoint_of_stage_3_answers(world):
    model = CSLMForCausalLM.from_pretrained(world / "prompt_compressed")
    assert model.respond(world / "corpus/audio/00.wav", decoding=DecodingConfig(max_new_tokens=4)).ids


def test_a_stage_starts_from_the_one_before(world):
    """Without a step to learn in, what is written is what the stage before wrote."""
    still = ["--training.learning_rate", "1.0e-12", "--output", "still", "--training.schedule.shape", "constant"]
    cli.dispatch(["train-prompt", *of_stage("prompt_explicit", world), *still])
    model, before = (CSLMForCausalLM.from_pretrained(world / name) for name in ("still", "prompt_asr"))
    for name, value in before.prompt.state_dict().items():
        assert (model.prompt.state_dict()[name] - value).abs().max() < 1e-8, name


def test_a_start_that_does_not_fit_is_refused(world):
    with pytest.raises(UserError, match="is no checkpoint of train-prompt"):
        cli.dispatch(["train-prompt", *of_stage("prompt_explicit", world), "--output", "a", "--start", "models/llm"])
    smaller = ["--output", "b", "--connector.convolutions.adapter_dims", "7"]
    with pytest.raises(UserError, match=r"start: connector.down.weight is .* of the size \(7, 32\) in this run"):
        cli.dispatch(["train-prompt", *of_stage("prompt_explicit", world), *smaller])
    make_llm(world / "models/other", seed=1, texts=tuple(" ".join(words) for words in WORDS.values()))
    other = ["--output", "c", "--model.base", str(world / "models/other")]
    with pytest.raises(UserError, match=r"was trained with the language model sha256:\w+, and .* is sha256:"):
        cli.dispatch(["train-prompt", *of_stage("prompt_explicit", world), *other])
