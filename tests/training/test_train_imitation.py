"""Behaviour imitation on the one loop: killed is not killed, two processes learn what one does, packed or not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from cslm.corpora.manifest import read_manifest, write_manifest
from cslm.errors import UserError
from cslm.synthesis.make_targets import MakeTargetsConfig, make_targets
from cslm.training import train_prompt
from tests.training.processes import finish, start
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, prompt_config, write_heard_world
from tests.worlds.small_village import word_times
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_world import write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Recordings with word times, a Whisper, a language model and its targets; and a run of four steps."""
    root = write_heard_world(tmp_path_factory.mktemp("world"))
    utterances = list(read_manifest(root / "manifest.jsonl"))
    for index, utterance in enumerate(utterances):
        utterance.words = word_times(utterance.text, "en", 0.3 + 0.13 * (index % 7))
    write_manifest(utterances, root / "manifest.jsonl")
    write_whisper(root / "whisper")
    make_llm(root / "llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    targets(root, "targets", "llm")
    run(root)
    return root


def targets(root, name, llm, max_new_tokens=6):
    given = {"max_new_tokens": max_new_tokens, "prompts": 2, "device": "cpu"}
    make_targets(MakeTargetsConfig([str(root / "manifest.jsonl")], str(root / llm), str(root / name), **given))


def config_of(root, output="prompt", source=None, **training):
    config = prompt_config(root, root / "llm", root / "whisper", **training)
    imitation = {
        "task": "audio_imitation", "manifest": "manifest.jsonl", "targets": "targets", "weight": 2,
        "text_words": {"values": [0.8, 0.2]}, "span_words": 1.0,
    }  # fmt: skip
    sources = {"imitation": {**imitation, **(source or {})}, "asr": config["sources"]["asr"]}
    losses = {"cross_entropy": {}, "imitation_kl": {"temperature": 1.0}}
    return {**config, "sources": sources, "losses": losses, "output": output}


def run(root, output="prompt", changes=None, source=None, **training):
    path = write_config(root / f"{output}.yaml", {**config_of(root, output, source, **training), **(changes or {})})
    train_prompt.main(["--config", str(path)])
    return root / output


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_the_divergence_from_the_teacher_falls(world):
    only = {"imitation": {**config_of(world)["sources"]["imitation"], "text_words": 0.0}}
    found = run(world, "longer", {"sources": only}, max_tokens=6000, max_steps=24)
    lines = [json.loads(line) for line in (found / "metrics.jsonl").read_text().splitlines()]
    divergences = [line["terms"]["imitation_kl"] for line in lines]
    assert len(divergences) > 15
    assert sum(divergences[-4:]) < 0.7 * sum(divergences[:4])


def test_two_processes_learn_what_one_learns(world):
    path = write_config(world / "two.yaml", config_of(world, "two"))
    finish(start(2, "recipes/train_prompt.py", "--config", str(path)))
    assert losses(world / "two") == pytest.approx(losses(world / "prompt"), rel=1e-5)
    for name, value in weights(world / "prompt").items():
        torch.testing.assert_close(weights(world / "two")[name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("zero_stage", [3])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(world, zero_stage):
    whole = run(world, f"whole{zero_stage}", zero_stage=zero_stage, max_tokens=960)
    run(world, f"stopped{zero_stage}", zero_stage=zero_stage, max_tokens=960, max_steps=2)
    resumed = run(world, f"stopped{zero_stage}", zero_stage=zero_stage, max_tokens=960)
    assert losses(resumed) == losses(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def test_packed_or_not_is_the_same_curve(world):
    training = config_of(world)["training"]
    found = run(world, "unpacked", {"training": {**training, "data": {"pack": False}}})
    assert losses(found) == pytest.approx(losses(world / "prompt"), rel=1e-5)


def test_targets_of_another_model_are_refused_and_both_are_named(world):
    make_llm(world / "other", seed=1, texts=tuple(" ".join(words) for words in WORDS.values()))
    targets(world, "others", "other")
    with pytest.raises(UserError, match=r"made with another language model \(sha256:\w+\) than the model of this run"):
        run(world, "refused", source={"targets": "others"})


def test_other_targets_are_another_run(world):
    shutil.copytree(world / "targets", world / "swapped")
    run(world, "moved", source={"targets": "swapped"}, max_steps=1)
    shutil.rmtree(world / "swapped")
    targets(world, "swapped", "llm", max_new_tokens=5)
    with pytest.raises(UserError, match="imitation"):
        run(world, "moved", source={"targets": "swapped"})


def test_a_divergence_without_a_teacher_is_refused(world):
    asr = {"asr": config_of(world)["sources"]["asr"]}
    with pytest.raises(UserError, match="losses.imitation_kl is given, and no source imitates"):
        run(world, "refused", {"sources": asr})
