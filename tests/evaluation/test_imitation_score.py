"""The grid of prompt and task generalization, of our model and of one of transformers, through the verb ``score``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cslm import CSLMForCausalLM
from cslm.audio.waveform import load_waveform
from cslm.corpora.manifest import read_manifest
from cslm.errors import UserError
from cslm.evaluation.audio_text_model import OwnAudioModel
from cslm.evaluation.error_rates import normalize
from cslm.evaluation.score import main
from cslm.evaluation.scores import score_tables
from cslm.evaluation.teacher_agreement import agreement
from cslm.sequences.imitation import text_request
from cslm.sequences.task_pool import CELLS, Asked
from cslm.synthesis.make_targets import MakeTargetsConfig, make_targets
from cslm.training import train_prompt
from cslm.units.sample_store import TARGETS, SampleStore
from tests.worlds.asr_models import write_whisper
from tests.worlds.audio_text_models import make_qwen2_audio
from tests.worlds.heard_world import WORDS, prompt_config, write_heard_world
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_world import write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Recordings, targets of all cells, references for one task, and a model of two steps."""
    root = write_heard_world(tmp_path_factory.mktemp("world"))
    write_whisper(root / "whisper")
    make_llm(root / "llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    given = {"max_new_tokens": 5, "prompts": 1, "device": "cpu", "cells": list(CELLS)}
    make_targets(MakeTargetsConfig([str(root / "manifest.jsonl")], str(root / "llm"), str(root / "grid"), **given))
    store = SampleStore.open(root / "grid", TARGETS)
    rows = [store.row(index) for index in range(len(store))]
    right = [
        {"id": row["id"], "task": row["task"], "target_language": row["target_language"],
         "answer": in_other_letters(row["answer"]) if is_right(row["id"]) else "never said"}
        for row in rows
    ]  # fmt: skip
    (root / "references.jsonl").write_text("".join(json.dumps(line) + "\n" for line in right), encoding="utf-8")
    config = prompt_config(root, root / "llm", root / "whisper", max_steps=2)
    train_prompt.main(["--config", str(write_config(root / "prompt.yaml", config))])
    return root


def is_right(name: str) -> bool:
    """What the text-only model says of some recordings is right, in other letters; of the others it is not."""
    return int(name[1:]) % 3 != 0


def in_other_letters(answer: str) -> str:
    """The same but for case and punctuation, where there is more than that."""
    return answer.upper() + "!" if normalize(answer, "en") else answer


def settings(**changes: object) -> dict[str, object]:
    return {"manifest": "manifest.jsonl", "targets": "grid", "batch_size": 4, **changes}


def score(root: Path, checkpoint: Path, name: str, scores: dict[str, object], **more: object) -> dict[str, object]:
    path = root / f"{name}.yaml"
    given = {"scores": scores, "data_root": str(root), "max_items": 3, **more}
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    output = root / name / "results.json"
    main([str(checkpoint), "--config", str(path), "--output", str(output)])
    return json.loads(output.read_text(encoding="utf-8"))


def test_our_model_is_scored_beside_text_and_cascade(world):
    whole = score(world, world / "prompt", "ours", {"imitation": settings(references="references.jsonl")})
    found = whole["scores"]["imitation"]
    assert list(found["cells"]) == list(CELLS)
    for scores in found["cells"].values():
        assert scores["n"] == 3
        assert scores["divergence"] > 0
        assert 0 <= scores["token_agreement"] <= 1
        assert {"exact", "cascade_exact"} <= scores.keys()
    assert found["seconds_per_answer"] > 0
    assert found["cascade_seconds_per_answer"] > 0
    lines = [json.loads(line) for line in (world / "ours/imitation.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert len({is_right(line["id"]) for line in lines}) == 2
    for cell, scores in found["cells"].items():
        own = [line for line in lines if line["cell"] == cell]
        assert scores["text_accuracy"] == pytest.approx(sum(is_right(line["id"]) for line in own) / 3, abs=1e-5)
        heard = [line["answer"].lower().split() == line["text_answer"].lower().split() for line in own]
        right = [same and is_right(line["id"]) for same, line in zip(heard, own, strict=True)]
        assert scores["accuracy"] == pytest.approx(sum(right) / 3, abs=1e-5)
    assert all("cascade_answer" in line and "heard" in line for line in lines)
    grid, by_task = score_tables(whole)
    assert "unseen wordings" in grid.html
    assert "by task" in by_task.heading


def test_divergence_and_agreement_are_those_of_plain_calls(world):
    """The reply of the text-only model behind the request, heard and read, by the calls that users have."""
    model = CSLMForCausalLM.from_pretrained(world / "prompt")
    store, places = SampleStore.open(world / "grid", TARGETS), {}
    for utterance in read_manifest(world / "manifest.jsonl"):
        places[utterance.id] = str(world / utterance.audio)
    cut = [row for row in map(store.row, range(len(store))) if row["truncated"]][:3]
    assert len(cut) == 3, "of those the end is not learnt"
    for row in cut:
        found = agreement(model, load_waveform(places[row["id"]]), row)
        request = model.processor.request(places[row["id"]], f"{row['before']}{{audio}}{row['after']}")
        inputs = model.processor.apply_chat_template(request)
        reply = torch.from_numpy(row["target"].astype(np.int64))[None]
        features = inputs["input_features"], inputs["input_features_mask"]
        asked = text_request(row["text"], Asked(row["before"], row["after"]), row["language"])
        read = torch.from_numpy(model.processor.form.prompt(row["task"], asked).ids.astype(np.int64))[None]
        with torch.no_grad():
            heard = model(torch.cat((inputs["input_ids"], reply), dim=1), None, *features).logits[0]
            said = model.prompt.llm(torch.cat((read, reply), dim=1)).logits[0]
        student, teacher = (logits[-1 - reply.shape[1] : -1].log_softmax(-1) for logits in (heard, said))
        divergence = (teacher.exp() * (teacher - student)).sum()
        assert found.tokens == reply.shape[1]
        assert found.divergence == pytest.approx(float(divergence), rel=1e-4) and found.divergence > 0
        assert found.agreeing == int((student.argmax(-1) == reply[0]).sum())


def test_a_model_of_transformers_is_scored_by_its_class_name(world):
    folder = make_qwen2_audio(world / "qwen")
    model = {"audio_model": {"class_name": "Qwen2AudioForConditionalGeneration"}}
    with pytest.raises(UserError, match="cascade needs a language model: give llm"):
        score(world, folder, "theirs", {"imitation": settings()}, **model)
    found = score(world, folder, "theirs", {"imitation": settings(llm=str(world / "llm"))}, **model)
    cells = found["scores"]["imitation"]["cells"]
    assert all({"exact", "cascade_exact"} <= scores.keys() and "divergence" not in scores for scores in cells.values())


def test_a_folder_of_another_kind_was_built_from_random_weights(world):
    model = {"audio_model": {"class_name": "Qwen2AudioForConditionalGeneration"}}
    for folder, told in (("prompt", "is a checkpoint of train-prompt: leave audio_model out"), ("llm", "is of type")):
        with pytest.raises(UserError, match=f"opens models of type qwen2_audio, and .* {told}"):
            score(world, world / folder, "theirs", {"imitation": settings(llm=str(world / "llm"))}, **model)


def test_what_cannot_be_scored_is_refused_at_once(world):
    with pytest.raises(UserError, match=r"scores.asr needs a model with units"):
        score(world, world / "prompt", "refused", {"asr": {"sets": {"test": "manifest.jsonl"}}})
    make_llm(world / "other", seed=1, texts=tuple(" ".join(words) for words in WORDS.values()))
    given = {"max_new_tokens": 5, "prompts": 1, "device": "cpu", "cells": ["seen"]}
    make_targets(MakeTargetsConfig([str(world / "manifest.jsonl")], str(world / "other"), str(world / "odd"), **given))
    with pytest.raises(UserError, match="made with another language model"):
        score(world, world / "prompt", "refused", {"imitation": settings(targets="odd")})


def test_what_is_wrong_was_said_after_the_last_answer(world, monkeypatch):
    def never(*_):
        raise AssertionError("nothing is answered before all is there")

    monkeypatch.setattr(OwnAudioModel, "answer", never)
    make_llm(world / "stranger", seed=2, texts=tuple(" ".join(words) for words in WORDS.values()))
    (world / "no_answers.jsonl").write_text('{"id": "u1", "task": "summary"}\n')
    for changes, told in (
        ({"llm": "nowhere"}, "the language model nowhere cannot be opened"),
        ({"llm": str(world / "stranger")}, r"made with another language model .* than scores.imitation.llm"),
        ({"references": "no_answers.jsonl"}, "line 1: misses 'answer'"),
    ):
        with pytest.raises(UserError, match=told):
            score(world, world / "prompt", "refused", {"imitation": settings(**changes)})
    (world / "is_a_folder").mkdir()
    with pytest.raises(UserError, match="output is .*is_a_folder, which is a folder"):
        main([str(world / "prompt"), "--config", str(world / "refused.yaml"), "--output", str(world / "is_a_folder")])
