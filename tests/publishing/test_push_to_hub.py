"""The model card says what the files of the run say, and only the model's files leave the machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub.utils import filter_repo_objects
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm import CSLMForCausalLM
from cslm.errors import UserError
from cslm.model import local_folder
from cslm.model.speech_prompt.merge import MergeConfig, merge
from cslm.publishing import push_to_hub as module
from cslm.publishing.model_card import model_card, training_runs
from cslm.publishing.push_to_hub import PushToHubConfig, main, model_files, push_to_hub
from tests.worlds.small_corpus import glide
from tests.worlds.tiny_prompt import make_prompt

CONSUMED = {"spoken": 700, "written": 300}
NOTES = {"spoken: dropped, longer than 64 tokens": 3, "written: cut, longer than 64 tokens": 2}
COMMIT = "c0ffee" * 6 + "c0ff"


@pytest.fixture
def run(checkpoint: Path, tmp_path: Path) -> Path:
    """A finished run with all that training leaves in its folder, after a run on a base of the Hub."""
    for name in ("first", "second"):
        shutil.copytree(checkpoint, tmp_path / name)
    folder = tmp_path / "second"
    for name in ("checkpoints/step-00000001/state.pt", "tensorboard/events.out", "text_tokenizer/tokenizer.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not for others")
    (folder / "speech" / "decoder" / "metrics.jsonl").write_text("{}\n")
    (folder / "metrics.jsonl").write_text(json.dumps({"groups": {"asr/text/en": 1.0, "tts/speech/zh-TW": 2.0}}) + "\n")
    (tmp_path / "shards").mkdir()
    header = {"dataset": "people/texts", "split": "train", "revision": COMMIT, "content": None}
    (tmp_path / "shards" / "header.json").write_text(json.dumps(header))
    sources = {
        "spoken": {"task": "asr", "weight": 0.7, "store": "units", "languages": ["en"]},
        "written": {"task": "text", "weight": 0.3, "documents": "shards", "languages": None},
    }
    for name, base in (("first", "people/Base-1B"), ("second", "first")):
        config = {"data_root": str(tmp_path), "model": {"base": base}, "sources": sources, "training": {"seed": 0}}
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
        facts = {"steps": 10, "tokens": 1000, "consumed": CONSUMED, "notes": NOTES, "versions": {"torch": "2.9.1"}}
        (tmp_path / name / "finished.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What a Hub of ours was asked; it keeps what it is sent in ``hub`` below ``tmp_path``."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class FakeHub:
        def create_repo(self, repo_id: str, **told: Any) -> None:
            asked.append(("create_repo", {"repo_id": repo_id, **told}))

        def create_branch(self, repo_id: str, **told: Any) -> None:
            asked.append(("create_branch", {"repo_id": repo_id, **told}))

        def upload_folder(self, **told: Any) -> None:
            asked.append(("upload_folder", told))
            for name in told["allow_patterns"]:
                (tmp_path / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(told["folder_path"]) / name, tmp_path / "hub" / name)

    monkeypatch.setattr(module, "HfApi", FakeHub)
    monkeypatch.setattr(module, "get_token", lambda: "a token")
    return asked


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_says_what_the_files_say(run: Path) -> None:
    card = model_card(run, "people/Voice-1B", licence="apache-2.0")
    assert front_matter(card) == {
        "language": ["en", "zh"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "any-to-any",
        "base_model": "people/Base-1B",
        "datasets": ["people/texts"],
        "tags": ["cslm", "speech", "speech-language-model", "discrete-units"],
    }
    assert "# Voice-1B" in card and card.index("### first, from `people/Base-1B`") < card.index("### second, from")
    assert f"| written | text | 0.3 | all | 300 | people/texts (train), revision {COMMIT} |" in card
    assert "| spoken | asr | 0.7 | en | 700 |  |" in card
    assert "- spoken: dropped, longer than 64 tokens: 3 documents" in card and "10 steps, 1,000 tokens" in card
    section = json.loads((run / "config.json").read_text())["speech"]
    first = section["first_unit_id"]
    assert section["fingerprint"] in card and f"| units | {first} to {first + 15} |" in card
    assert f"| `<sosp>` | {section['sosp']} |" in card and "| torch | 2.9.1 |" in card
    assert str(run.parent) not in card and "## Scores" not in card


def test_what_no_file_says_is_left_out(checkpoint: Path) -> None:
    card = model_card(checkpoint, "me/it")
    assert set(front_matter(card)) == {"library_name", "pipeline_tag", "tags"}
    assert "## Training" not in card and training_runs(checkpoint) == []


def test_scores_come_from_the_named_file_or_from_beside(run: Path) -> None:
    heard = {"test": {"en": {"wer": 0.125, "wer_interval": [0.1, 0.15], "n": 80}}}
    results = {"scores": {"asr": heard}, "seconds": {"total": 60}}
    (run.parent / "results.json").write_text(json.dumps(results))
    (run.parent / "results_config.yaml").write_text(yaml.safe_dump({"checkpoint": f"{run.parent.name}/first"}))
    told = PushToHubConfig(str(run), "me/it", dry_run=True)
    push_to_hub(told)
    assert "12.5 %" not in (run / "README.md").read_text("utf-8")  # the scores beside it are of another checkpoint
    (run.parent / "results_config.yaml").write_text(yaml.safe_dump({"checkpoint": f"{run.parent.name}/second"}))
    push_to_hub(told)
    card = (run / "README.md").read_text("utf-8")
    assert "12.5 %" in card and "10.0–15.0" in card and "Time" not in card
    told = PushToHubConfig(str(run), "me/it", dry_run=True, results=str(run.parent / "none.json"))
    with pytest.raises(UserError, match=r"none\.json"):
        push_to_hub(told)


def test_a_dry_run_sends_nothing_and_lists_what_would_go(run: Path, calls: list, capsys: Any) -> None:
    before = {path for path in run.rglob("*") if path.is_file()}
    main([str(run), "--repo", "me/it", "--dry_run", "true"])
    assert calls == [] and {path for path in run.rglob("*") if path.is_file()} - before == {run / "README.md"}
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"would send {len(told) - 1} files to me/it:"
    assert [line.split()[0] for line in told[1:]] == model_files(run)


def test_what_is_sent_opens_with_equal_logits(run: Path, calls: list, tmp_path: Path) -> None:
    files = push_to_hub(PushToHubConfig(str(run), "me/it", private=True, revision="v1"))
    assert [name for name, _ in calls] == ["create_repo", "create_branch", "upload_folder"]
    assert calls[0][1] == {"repo_id": "me/it", "private": True, "exist_ok": True}
    told = calls[2][1]
    assert told["allow_patterns"] == files and told["revision"] == "v1"
    assert "*.safetensors" in told["delete_patterns"]  # an earlier model in one file would win over new shards
    kept = ("checkpoints", "tensorboard", "text_tokenizer", "metrics", "config.yaml", "finished.json")
    assert not [name for name in files if any(word in name for word in kept)]
    hub = tmp_path / "hub"
    ids = torch.tensor([[5, 6, 7, 300, 301]])
    with torch.no_grad():
        logits = [AutoModelForCausalLM.from_pretrained(folder).eval()(ids).logits for folder in (run, hub)]
    assert torch.equal(*logits)
    assert AutoTokenizer.from_pretrained(hub)("Anna <3>") == AutoTokenizer.from_pretrained(run)("Anna <3>")
    assert CSLMForCausalLM.from_pretrained(hub).processor.speech_decoder().voices == ("en", "zh")


def test_a_card_of_a_person_is_sent_as_it_is(run: Path, calls: list, capsys: Any) -> None:
    (run / "README.md").write_text("my own words")
    assert "README.md" in push_to_hub(PushToHubConfig(str(run), "me/it"))
    assert (run / "README.md").read_text() == "my own words" and "sent as it is" in capsys.readouterr().out


def test_no_token_no_network_no_checkpoint_are_one_line(run: Path, calls: list, monkeypatch: Any) -> None:
    told = PushToHubConfig(str(run), "me/it")
    monkeypatch.setattr(module, "get_token", lambda: None)
    with pytest.raises(UserError, match="hf auth login"):
        push_to_hub(told)
    monkeypatch.undo()
    monkeypatch.setattr(module, "get_token", lambda: "a token")  # the test's own HF_HUB_OFFLINE refuses the rest
    with pytest.raises(UserError, match=r"me/it.*check token, name and network"):
        push_to_hub(told)
    (run / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        push_to_hub(told)


def test_a_model_that_hears_was_pushed_without_what_opens_it(tmp_path: Path, calls: list[Any]) -> None:
    """Its settings and its frozen parts stayed here, and the card said that transformers opens it."""
    folder, whole = make_prompt(tmp_path / "world"), tmp_path / "whole"
    with pytest.raises(UserError, match=r"was trained before .*llm and .*whisper, a folder here that nobody else has"):
        push_to_hub(PushToHubConfig(str(folder), "people/Hears", dry_run=True))
    merge(MergeConfig(str(folder), str(whole)))
    sent = push_to_hub(PushToHubConfig(str(whole), "people/Hears"))
    assert {"speech_prompt.yaml", "llm/model.safetensors", "encoder/model.safetensors"} <= set(sent)
    wanted = [*local_folder._SMALL, *local_folder._WEIGHTS]
    got = tmp_path / "got"
    for name in filter_repo_objects(sent, allow_patterns=wanted, ignore_patterns=local_folder._NOT):
        (got / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "hub" / name, got / name)
    clip = glide(0, 0.9), 16000
    first, second = (CSLMForCausalLM.from_pretrained(place).respond(clip) for place in (whole, got))
    assert first == second
    card = (whole / "README.md").read_text("utf-8")
    assert front_matter(card)["pipeline_tag"] == "audio-text-to-text" and front_matter(card)["library_name"] == "cslm"
    assert "| connector | `stacked` |" in card and "| language model | in `llm/` |" in card
    (whole / "llm" / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(UserError, match=r"pytorch_model.bin, a pickle, which is not opened from the Hub"):
        push_to_hub(PushToHubConfig(str(whole), "people/Hears", dry_run=True))
    assert "AutoModelForCausalLM" not in card and "unknown" not in card and str(tmp_path) not in card
