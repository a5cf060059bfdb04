"""A plan of a connector's run, beside what the run then holds: no gradient, state or copy of what is frozen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import LlamaConfig, WhisperConfig, WhisperFeatureExtractor

from cslm.corpora.manifest import read_manifest, write_manifest
from cslm.encoders.encoder_config import EncoderConfig, WhisperEncoderConfig
from cslm.planning import plan as planning
from cslm.synthesis.make_targets import MakeTargetsConfig, make_targets
from cslm.synthesis.make_teacher_states import MakeTeacherStatesConfig, make_teacher_states
from cslm.training import train_prompt
from cslm.units.make_frames import MakeFramesConfig, make_frames
from tests.recipes.conftest import ROOT
from tests.training.processes import finish, start
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import NUM_RECORDINGS, WORDS, prompt_config, write_heard_world
from tests.worlds.small_village import word_times
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_world import write_config

LARGE = {"connector": {"stacked": {"stride": 4, "hidden_dims": 4096}}}
"""a connector that is larger than the language model, so that files and states are more than their wrapping"""
RECIPES = [
    *(f"language_aware_distillation/{name}" for name in ("train", "static")),
    *(f"behaviour_imitation/{name}" for name in ("tasks", "continuation", "none")),
    "speech_prompt/single_gpu",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = write_heard_world(tmp_path_factory.mktemp("world"))
    utterances = list(read_manifest(root / "manifest.jsonl"))
    for index, utterance in enumerate(utterances):
        utterance.words = word_times(utterance.text, "en", 0.3 + 0.13 * (index % 7))
    write_manifest(utterances, root / "manifest.jsonl")
    write_whisper(root / "whisper")
    make_llm(root / "llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    return root


def written(root: Path, name: str, changes: dict | None = None, **training: object) -> Path:
    plain = prompt_config(root, root / "llm", root / "whisper", **training)
    return write_config(root / f"{name}.yaml", {**plain, **LARGE, **(changes or {}), "output": name})


def planned(path: Path, *more: str) -> dict:
    file = path.with_suffix(".plan.json")
    planning.main(["--config", str(path), "--json", str(file), *more])
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_run_does_what_was_planned(world, capsys):
    path = written(world, "run", {"connector": {"stacked": {"stride": 2}}}, max_steps=12)
    found = planned(path, "--peak_tflops", "0.1", "--gpu_memory_gib", "1")
    told = capsys.readouterr().out
    assert "2*" in told and "vectors: " in told and "encoder" in told and found["hours"] > 0
    assert not (world / "run").exists(), "a plan writes nothing"
    train_prompt.main(["--config", str(path)])
    done = json.loads((world / "run" / "finished.json").read_text())
    assert found["steps"] == done["steps"]
    assert done["tokens"] == pytest.approx(found["tokens"], rel=0.1)
    assert {source["name"]: source["documents"] for source in found["sources"]} == {
        "asr": NUM_RECORDINGS, "dialogue": NUM_RECORDINGS, "text": NUM_RECORDINGS,
    }  # fmt: skip
    assert set(found["vectors"]) == {"en", "de"}
    for source in found["sources"]:
        assert (source["run_vectors"] > 0) == (source["name"] != "text")


def test_the_vectors_of_a_run_are_counted_by_language(world):
    """Every recording once: fifty frames a second, two of them a vector."""
    source = {"asr": {"task": "audio_asr", "manifest": "manifest.jsonl", "weight": 1}}
    path = written(world, "counted", {"connector": {"stacked": {"stride": 2}}, "sources": source})
    whole = planned(path)["sources"][0]["tokens"]
    found = planned(path, "--training.tokens_per_step", str(whole), "--training.max_steps", "1")
    seconds = {"en": 0.0, "de": 0.0}
    for index in range(NUM_RECORDINGS):
        seconds["de" if index % 3 == 2 else "en"] += 0.3 + 0.13 * (index % 7)
    assert found["vectors"] == pytest.approx({name: 25 * value for name, value in seconds.items()}, rel=0.03)
    assert found["sources"][0]["run_audio_hours"] * 3600 == pytest.approx(sum(seconds.values()), rel=0.03)


@pytest.mark.parametrize(
    ("zero_stage", "optimizer"), [(0, "adamw"), (1, "adamw"), (2, "adamw"), (3, "adamw"), (0, "muon")]
)
def test_what_a_process_holds_is_what_was_planned(world, zero_stage, optimizer):
    """Parameters, gradients, the copy that is updated and the states of the optimizer, within a tenth.

    Tensors are counted in a process of their own: those of earlier tests came and went in the count.
    """
    path = written(world, f"held{zero_stage}_{optimizer}", zero_stage=zero_stage, optimizer=optimizer)
    (stage,) = [it for it in planned(path)["memory"]["stages"] if it["stage"] == zero_stage and not it["checkpointing"]]
    told = finish(start(1, "tests/planning/hold_prompt.py", str(path)))
    found = json.loads(told[told.rindex("{") :].splitlines()[0])
    assert found["frozen"] and not found["frozen_with_gradients"]
    if zero_stage < 3:  # a shard is all of it here, and the plan adds what is gathered
        assert found["weights"] == pytest.approx(stage["weights"], rel=0.1)
    kept = stage["gradients"] + stage["buffers"] if zero_stage == 3 else 0  # there from the start, and never let go
    held = found["held"] - found["weights"]
    assert held == pytest.approx(stage["masters"] + stage["optimizer"] + kept, rel=0.1)
    if zero_stage < 2:  # later ones take their buffers when they begin
        assert found["gradients"] == pytest.approx(stage["gradients"], rel=0.1)


def test_what_is_held_out_was_planned_as_trained(world):
    whole = planned(written(world, "whole", {"validation": None}))
    held = planned(written(world, "held", {"validation": {"eval_steps": 2, "share": 0.3, "max_documents": 4}}))
    asr, less = (next(it for it in plan["sources"] if it["name"] == "asr") for plan in (whole, held))
    assert asr["documents"] == NUM_RECORDINGS > less["documents"] > 0


def test_a_plan_of_missing_sources_says_what_it_does_not_count(world):
    missing = {"asr": {"task": "audio_asr", "manifest": "nowhere.jsonl", "weight": 1}}
    notes = planned(written(world, "missing", {"sources": missing}))["notes"]
    assert any(note.startswith("hours and activations are too low") for note in notes)


@pytest.mark.parametrize(("zero_stage", "optimizer"), [(0, "adamw"), (2, "adamw"), (3, "adamw"), (0, "muon")])
def test_files_are_as_large_as_planned(world, zero_stage, optimizer):
    name = f"saved{zero_stage}_{optimizer}"
    path = written(world, name, zero_stage=zero_stage, optimizer=optimizer, max_steps=2)
    found = planned(path)
    assert {it["stage"] for it in found["memory"]["stages"]} == set(range(1 if optimizer == "muon" else 4))
    train_prompt.main(["--config", str(path)])
    folder = world / name
    (newest,) = (folder / "checkpoints").glob("step-*2")
    size = sum(file.stat().st_size for file in newest.rglob("*.pt"))
    assert size == pytest.approx(found["disk"]["checkpoint"], rel=0.1)
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(found["disk"]["model"], rel=0.1)


def test_stores_are_as_large_as_planned(world):
    sources = {
        "lad": {"task": "audio_distillation", "teacher_states": "states", "manifest": "manifest.jsonl", "weight": 1},
        "mtbi": {"task": "audio_imitation", "targets": "targets", "manifest": "manifest.jsonl", "weight": 1},
    }
    losses = {"cross_entropy": {}, "output_distillation": {}}
    path = written(world, "stores", {"sources": sources, "losses": losses})
    found = planned(path, "--answer_tokens", "60")
    assert [note for note in found["notes"] if "there is no teacher_states states" in note]
    assert {store["made"] for store in found["stores"]} == {False}
    manifests, llm = [str(world / "manifest.jsonl")], str(world / "llm")
    encoder = EncoderConfig(whisper=WhisperEncoderConfig(str(world / "whisper")))
    make_frames(MakeFramesConfig(manifests, str(world / "frames"), encoder, device="cpu"))
    make_teacher_states(MakeTeacherStatesConfig(manifests, llm, str(world / "states"), device="cpu"))
    make_targets(MakeTargetsConfig(manifests, llm, str(world / "targets"), max_new_tokens=60, device="cpu"))
    for store in found["stores"]:
        folder = world / {"teacher_states": "states"}.get(store["kind"], store["kind"])
        size = sum(file.stat().st_size for file in folder.glob("*.parquet"))
        if store["kind"] == "targets":  # answers that nobody has written yet: their size, not their bytes
            assert size / 2 < store["bytes"] < 2 * size
        else:
            assert store["bytes"] == pytest.approx(size, rel=0.1), store["kind"]
        assert store["rows"] == NUM_RECORDINGS
    made = planned(path)["stores"]
    (told,) = [store["bytes"] for store in made if store["kind"] == "targets"]
    assert told == sum(file.stat().st_size for file in (world / "targets").glob("*.parquet"))
    assert {store["kind"]: store["made"] for store in made} == {
        "frames": False, "teacher_states": True, "targets": True,
    }  # fmt: skip


def test_frames_that_are_kept_need_no_encoder_in_a_step(world):
    path = written(world, "hours")
    found = planned(path)["flops"]
    assert found["encoder"] > 0 and found["connector"] > 0 and found["teacher"] == 0
    encoder = EncoderConfig(whisper=WhisperEncoderConfig(str(world / "whisper")))
    kept = MakeFramesConfig([str(world / "manifest.jsonl")], str(world / "kept"), encoder, device="cpu")
    make_frames(kept)
    more = ("--sources.asr.frames", "kept", "--sources.dialogue.frames", "kept")
    assert planned(path, *more)["flops"] == {**found, "encoder": 0}


def test_recordings_are_not_decoded(world, monkeypatch):
    def refuses(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("cslm.batches.recording_index.load_waveform", refuses)
    assert planned(written(world, "headers"))["sources"][0]["documents"] == NUM_RECORDINGS


@pytest.mark.parametrize("connector", ["stacked", "convolutions", "qformer", "query_bank"])
def test_every_connector_runs_without_its_weights(world, connector):
    """Twice the recordings in a row keep about twice as much."""
    settings = {"qformer": {"hidden_dims": 24, "num_heads": 2}, "query_bank": {"num_queries": 4, "whisper": "whisper"}}
    path = written(world, connector, {"connector": {connector: settings.get(connector, {})}})
    few, many = (
        planned(path, "--training.tokens_per_micro_batch", str(tokens), "--training.tokens_per_step", "480")
        for tokens in (120, 240)
    )
    first, second = (found["memory"]["stages"][0]["activations"] for found in (few, many))
    assert 1.5 < second / first < 2.5
    assert not [note for note in few["notes"] if "activations" in note]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_planned(world, recipe, capsys):
    """At its own scale but for the parts; stores that are not there are named, and the rest is told."""
    parts = ["--model.base", str(world / "llm"), "--encoder.whisper.model", str(world / "whisper")]
    if "distillation" in recipe:
        parts += ["--connector.query_bank.whisper", str(world / "whisper"), "--connector.query_bank.num_queries", "8"]
    parts += ["--training.max_length", "512", "--data_root", str(world), "--num_processes", "8"]
    planning.main(["--config", str(ROOT / "recipes" / f"{recipe}.yaml"), *parts])
    assert "ZeRO" in capsys.readouterr().out


def test_the_paper_without_its_weights(world):
    """Whisper-large-v3 and eight billion parameters, of which nothing is read: two folders of configurations."""
    shapes = world / "shapes"
    write_shapes(shapes, world)
    parts = ["--model.base", "shapes/llm", "--encoder.whisper.model", "shapes/whisper"]
    parts += ["--connector.query_bank.whisper", "shapes/whisper", "--data_root", str(world)]
    parts += ["--num_processes", "4", "--gpu_memory_gib", "80", "--peak_tflops", "989"]
    recipe = str(ROOT / "recipes/language_aware_distillation/train.yaml")
    planning.main(["--config", recipe, *parts, "--json", str(world / "paper.json")])
    found = json.loads((world / "paper.json").read_text(encoding="utf-8"))
    assert found["parts"]["language model"] == 8_030_261_248
    assert 630e6 < found["parts"]["encoder"] < 645e6
    learn = found["trained_parameters"]
    assert found["disk"]["model"] == 2 * learn and found["disk"]["checkpoint"] == 14 * learn
    stages = {it["stage"]: it for it in found["memory"]["stages"] if not it["checkpointing"]}
    assert stages[2]["gradients"] == 2 * learn // 4 and stages[2]["optimizer"] == 8 * learn // 4
    again = next(it for it in found["memory"]["stages"] if it["checkpointing"] and it["stage"] == 2)
    assert again["activations"] < 0.6 * stages[2]["activations"]  # the plan of a frozen model took no notice


def write_shapes(folder: Path, world: Path) -> None:
    """Configurations alone, with a small text tokenizer."""
    LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=8192,
    ).save_pretrained(folder / "llm")  # fmt: skip
    for file in (world / "llm").iterdir():
        if not file.name.startswith(("config", "model")):
            shutil.copyfile(file, folder / "llm" / file.name)
    WhisperConfig(
        vocab_size=51_866, num_mel_bins=128, d_model=1280, encoder_layers=32, decoder_layers=32,
        encoder_attention_heads=20, decoder_attention_heads=20, encoder_ffn_dim=5120, decoder_ffn_dim=5120,
        architectures=["WhisperForConditionalGeneration"],
    ).save_pretrained(folder / "whisper")  # fmt: skip
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder / "whisper")
