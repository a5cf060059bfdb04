"""A connector between real frozen parts: alone as in a batch, long recordings, one template, and 30 steps that teach.

Minutes: run where ``CSLM_PRETRAINED`` names a folder with a Whisper and a language model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cslm import CSLMForCausalLM
from cslm.audio.waveform import load_waveform
from cslm.batches.sources import SourceConfig, open_sources
from cslm.configuration import load_configuration
from cslm.corpora.manifest import read_manifest
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.evaluation.teacher_agreement import Agreement, agreement
from cslm.model.speech_prompt.prompt_checkpoint import save_prompt
from cslm.model.speech_prompt.prompt_parts import open_parts
from cslm.model.speech_prompt.speech_prompt import trained_names
from cslm.sequences.hearing import PLACEHOLDER
from cslm.synthesis.make_targets import MakeTargetsConfig, make_targets
from cslm.synthesis.make_teacher_states import MakeTeacherStatesConfig, make_teacher_states
from cslm.training import train_prompt
from cslm.training.language_model_config import RunPaths
from cslm.training.prompt_config import TrainPromptConfig
from cslm.units.make_frames import MakeFramesConfig, make_frames
from cslm.units.sample_store import TARGETS, SampleStore
from tests.worlds.flat_training import grouped
from tests.worlds.pretrained import pretrained_parts, write_speech
from tests.worlds.tiny_world import write_config

NUM_CLIPS, HELD_OUT = 120, 40
FEW, EPOCH = 40, 10
"""clips that imitation learns from, and the steps in which each comes about once: its loss hangs on the clips most"""
STACKED = {"connector": {"stacked": {"stride": 8}}}
METHODS = {
    "lad": {
        "languages": ["en", "fr"],
        "connector": {"query_bank": {"num_queries": 32, "whisper": "WHISPER", "gate": {}}},
        "losses": {"language_identification": {}, "input_distillation": {}, "output_distillation": {}},
        "sources": {"lad": {"task": "audio_distillation", "teacher_states": "states"}},
    },
    "mtbi": STACKED
    | {
        "losses": {"cross_entropy": {}},
        "sources": {"mtbi": {"task": "audio_imitation", "targets": "targets/tasks"}},
    },
}


@pytest.fixture(scope="module")
def parts():
    return pretrained_parts()


@pytest.fixture(scope="module")
def world(parts, tmp_path_factory) -> Path:
    """Clips, and what the frozen parts make of them once."""
    root = write_speech(tmp_path_factory.mktemp("real"), NUM_CLIPS, HELD_OUT)
    manifests, llm = [str(root / "manifest.jsonl")], str(parts.llm)
    lines = (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "few.jsonl").write_text("".join(lines[:FEW]), encoding="utf-8")
    encoder = load_configuration(TrainPromptConfig, config_of(root, parts, "mtbi")).encoder
    make_frames(MakeFramesConfig(manifests, str(root / "frames"), encoder, device="cpu"))
    make_teacher_states(MakeTeacherStatesConfig(manifests, llm, str(root / "states"), device="cpu"))
    short = {"max_new_tokens": 16, "batch_size": 16, "device": "cpu"}
    make_targets(MakeTargetsConfig(manifests, llm, str(root / "targets/tasks"), **short))
    for condition in ("none", "tasks"):
        test = [str(root / "test.jsonl")]
        make_targets(MakeTargetsConfig(test, llm, str(root / "test" / condition), condition=condition, **short))
    return root


def config_of(root: Path, parts, method: str) -> Path:
    """Thirty steps of four clips."""
    changes = json.loads(json.dumps(METHODS[method]).replace("WHISPER", str(parts.whisper)))
    for source in changes["sources"].values():
        manifest = {"lad": "manifest.jsonl", "mtbi": "few.jsonl"}[method]
        source |= {"manifest": manifest, "frames": "frames", "weight": 1}
    training = {"max_steps": 30, "tokens_per_step": {"lad": 290, "mtbi": 400}[method], "max_length": 290,
                "tokens_per_micro_batch": 400, "log_every": 1, "num_threads": 1, "save_every": 1000, "zero_stage": 0,
                "learning_rate": 1e-3, "warmup_steps": 3}  # fmt: skip
    plain = {"data_root": str(root), "output": method, "model": {"base": str(parts.llm)}}
    plain |= {"encoder": {"whisper": {"model": str(parts.whisper)}}, "training": grouped(**training)}
    return write_config(root / f"{method}.yaml", plain | changes)


def untrained(root: Path, parts, method: str) -> CSLMForCausalLM:
    """The model as the run begins."""
    config = load_configuration(TrainPromptConfig, config_of(root, parts, method))
    settings = train_prompt.prompt_settings(config, RunPaths(config))
    made = open_parts(settings, settings.llm, Runtime(), seed=config.training.seed)
    state = made.prompt.state_dict()
    weights = {name: state[name] for name in trained_names(made.prompt)}
    folder = root / f"untrained_{method}"
    save_prompt(settings, made.tokenizer, made.hashes, weights, folder)
    return CSLMForCausalLM.from_pretrained(folder)


def agreed(model, root: Path, condition: str) -> Agreement:
    """Over the clips that are held out."""
    rows = SampleStore.open(root / "test" / condition, TARGETS)
    clips = {it.id: load_waveform(root / it.audio) for it in read_manifest(root / "test.jsonl")}
    found = [agreement(model, clips[row["id"]], row) for row in map(rows.row, range(len(rows)))]
    return Agreement(*(sum(values) for values in zip(*found, strict=True)))


@pytest.mark.parametrize("method", METHODS)
def test_thirty_steps_teach(world, parts, method):
    condition = {"lad": "none", "mtbi": "tasks"}[method]
    before = agreed(untrained(world, parts, method), world, condition)
    train_prompt.main(["--config", str(config_of(world, parts, method))])
    lines = [json.loads(line) for line in (world / method / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 30
    first, last = (float(np.mean([line["loss"] for line in part])) for part in (lines[:EPOCH], lines[-EPOCH:]))
    after = agreed(CSLMForCausalLM.from_pretrained(world / method), world, condition)
    print(f"\n{method}: loss {first:.3f} to {last:.3f}")
    for name, found in (("untrained", before), ("after 30 steps", after)):
        divergence, agreeing = found.divergence / found.tokens, found.agreeing / found.tokens
        print(f"{method}, {name}: KL {divergence:.3f} a token, {agreeing:.1%} of {found.tokens} tokens agree")
    for name, terms in (("first", lines[0]["terms"]), ("last", lines[-1]["terms"])):
        print(f"{method}, {name} step: {', '.join(f'{term} {value:.3f}' for term, value in terms.items())}")
    assert last < first
    assert after.divergence < before.divergence
    assert after.agreeing > before.agreeing


@pytest.mark.parametrize("method", METHODS)
def test_vectors_and_logits_are_the_same_alone_and_in_a_batch(world, parts, method):
    """Eight clips, the last of them longer than the encoder takes at once."""
    model = untrained(world, parts, method)
    clips = [load_waveform(world / f"audio/{number:02d}.wav") for number in range(7)]
    clips.append((np.concatenate([waveform for waveform, _ in clips * 3])[: 32 * 16000], 16000))
    requests = [model.processor.request(clip) for clip in clips]
    inputs = model.processor.apply_chat_template(requests)
    with torch.no_grad():
        vectors = model.get_audio_features(inputs["input_features"], inputs["input_features_mask"])
        logits = model(**inputs).logits[:, -1]
        worst = [0.0, 0.0]
        for row, request in enumerate(requests):
            inputs = model.processor.apply_chat_template(request)
            alone = model.get_audio_features(inputs["input_features"], inputs["input_features_mask"]).vectors[0]
            found = vectors.vectors[row, : len(alone)]
            worst[0] = max(worst[0], float((alone - found).abs().max() / alone.abs().max()))
            one = model(**inputs).logits[0, -1]
            worst[1] = max(worst[1], float((one - logits[row]).abs().max() / one.abs().max()))
    print(f"\n{method}: greatest difference of a vector {worst[0]:.1e}, of a logit {worst[1]:.1e}")
    assert worst[0] <= 1e-5
    assert worst[1] <= 1e-4


def test_a_recording_longer_than_the_encoder_takes_is_heard_in_pieces_or_refused(world, parts):
    model = untrained(world, parts, "mtbi")
    hearing = model.processor.hearing
    waveform = np.concatenate([load_waveform(world / f"audio/{n:02d}.wav")[0] for n in range(NUM_CLIPS)])[: 45 * 16000]
    long = (np.resize(waveform, 45 * 16000), 16000)
    assert hearing.num_pieces(45 * 16000) == 2
    with torch.no_grad():
        inputs = model.processor.apply_chat_template(model.processor.request(long))
        whole = model.get_audio_features(inputs["input_features"], inputs["input_features_mask"])
        assert whole.lengths.tolist() == [hearing.num_places(45 * 16000)] == [-(-45 * 50 // 8)]
        frames = [dict(model.prompt.encoder([piece]))[0] for piece in np.split(long[0], 2)]
        found = model.prompt.encoder.encoder([long[0][: 45 * 8000]])
        torch.testing.assert_close(frames[0], dict(found)[0])
        joined = torch.cat(frames)[None]
        vectors = model.prompt.connector(joined, torch.tensor([joined.shape[1]])).vectors
        torch.testing.assert_close(vectors, whole.vectors, atol=1e-5 * float(vectors.abs().max()), rtol=0)
    refusing = shutil.copytree(world / "untrained_mtbi", world / "refusing")
    settings = (refusing / "speech_prompt.yaml").read_text()
    (refusing / "speech_prompt.yaml").write_text(settings.replace("beyond: pieces", "beyond: refuse"))
    with pytest.raises(UserError, match=r"too long: 45.0 s, long_audio.most_sec is 30"):
        CSLMForCausalLM.from_pretrained(refusing).respond(long)


def test_one_template_writes_training_and_prompts_and_is_the_models_own(world, parts):
    model = untrained(world, parts, "mtbi")
    processor, tokenizer = model.processor, model.processor.tokenizer
    manifest = {"manifest": str(world / "manifest.jsonl")}
    given = {"audio_asr": {}, "audio_imitation": {"targets": str(world / "targets/tasks")}}
    for task, more in given.items():
        source = open_sources({"a": SourceConfig(task, 1, **manifest, **more)}, processor.form)["a"]
        rows = {it.id: it for it in read_manifest(world / "manifest.jsonl")}
        for index in (0, 1, 2):
            document = source.sequence(index, 5)
            first = int(document.trained.argmax())
            before, after = _said(processor, document)
            clip = next(it for it in rows.values() if len(load_waveform(world / it.audio)[0]) == _length(document))
            parts_of = [{"type": "text", "text": before}, {"type": "audio", "audio": str(world / clip.audio)}]
            parts_of = [part for part in [*parts_of, {"type": "text", "text": after}] if part.get("text", True)]
            prompt = processor.apply_chat_template([{"role": "user", "content": parts_of}])["input_ids"][0].tolist()
            assert prompt == document.ids[:first].tolist()
            place = processor.hearing.placeholder_id
            once = [it for n, it in enumerate(prompt) if it != place or n == 0 or prompt[n - 1] != place]
            said = [{"role": "user", "content": f"{before}{PLACEHOLDER}{after}"}]
            own = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
            assert tokenizer(own, add_special_tokens=False)["input_ids"] == once


def _said(processor, document) -> tuple[str, str]:
    """What a user says before and after the recording."""
    before, after = "", ""
    heard = document.clips[0].start
    for span, text in processor.form.span_texts(document):
        if span.role == "user" and span.modality == "text":
            before, after = (before + text, after) if span.start < heard else (before, after + text)
    return before, after


def _length(document) -> int:
    return len(document.clips[0].clip.read())


def test_other_weights_are_refused_and_both_are_named(world, parts, tmp_path):
    untrained(world, parts, "mtbi")
    other = shutil.copytree(parts.llm, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    name = min(weights)
    weights[name].view(-1)[0] += 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError) as raised:
        CSLMForCausalLM.from_pretrained(world / "untrained_mtbi", llm=str(other))
    hashes = json.loads((world / "untrained_mtbi/config.json").read_text())["speech_prompt"]["hashes"]
    told = str(raised.value)
    assert hashes["language model"] in told and str(other) in told and told.count("sha256:") == 2
