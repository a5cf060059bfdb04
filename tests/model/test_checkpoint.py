from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm.errors import UserError
from cslm.model.checkpoint import check_checkpoint, read_speech_section, save_checkpoint
from cslm.model.extension import extend_model
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.tiny_models import packed_row, tiny_model

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
SHAPES = [("llama", True), ("llama", False), ("qwen3", True), ("qwen3", False), ("gemma3_text", True)]

PLAIN_LOGITS = """
import sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
for folder in map(Path, sys.argv[1:]):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.save(model(torch.load(folder / "ids.pt")).logits.detach(), folder / "logits.pt")
    print(tokenizer.convert_tokens_to_ids("<3>"), tokenizer.decode(tokenizer.encode("one two")))
assert "cslm" not in sys.modules
"""


@pytest.fixture
def saved(tmp_path):
    """Make a checkpoint of an extended model; returns folder, model, vocabulary."""

    def save(family="llama", tied=True):
        folder = tmp_path / f"{family}-{tied}"
        tokenizer = train_text_tokenizer(["one two three"] * 9, 320, folder / "text")
        vocabulary = extend_tokenizer(tokenizer, (20,))
        model = tiny_model(family, tied, vocab_size=len(tokenizer) - 24 + 5)
        extend_model(model, vocabulary)
        save_checkpoint(model, tokenizer, folder, speech={**vocabulary.to_dict(), "fingerprint": "sha256:0"})
        return folder, model, vocabulary

    return save


@pytest.mark.parametrize(("family", "tied"), SHAPES)
def test_transformers_alone_gives_the_same_logits(saved, family, tied):
    folder, model, vocabulary = saved(family, tied)
    ids = packed_row([20]).input_ids
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == family
    assert config["architectures"] == [type(model).__name__]
    assert config["speech"]["first_unit_id"] == vocabulary.first_unit_id
    assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<3>") == vocabulary.unit_id(3)


@pytest.mark.parametrize(("family", "tied"), SHAPES)
def test_the_rotary_base_stands_where_either_stack_looks(saved, family, tied):
    folder, _, _ = saved(family, tied)
    config = json.loads((folder / "config.json").read_text())
    expected = {"llama": 50_000.0, "qwen3": 1_000_000.0, "gemma3_text": 1_000_000.0}[family]
    assert config["rope_theta"] == expected
    if family == "gemma3_text":
        assert config["rope_local_base_freq"] == 10_000.0
    else:
        assert config["rope_parameters"]["rope_theta"] == expected
    if family == "llama":
        assert config["rope_scaling"]["factor"] == config["rope_parameters"]["factor"] == 8.0


def test_the_other_stack_gives_the_same_logits(saved):
    python = os.environ.get("CSLM_OTHER_STACK_PYTHON")
    if python is None:
        pytest.skip("set CSLM_OTHER_STACK_PYTHON to the interpreter of the other stack")
    written = [saved(family, tied) for family, tied in SHAPES]
    ids = packed_row([20]).input_ids
    for folder, _, _ in written:
        torch.save(ids, folder / "ids.pt")
    assert _run(python, *(folder for folder, _, _ in written)) == [
        f"{vocabulary.unit_id(3)} one two" for _, _, vocabulary in written
    ]
    for folder, model, _ in written:
        with torch.no_grad():
            torch.testing.assert_close(torch.load(folder / "logits.pt"), model(ids).logits, rtol=0, atol=2e-6)


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("transformers*")), ids=lambda folder: folder.name)
def test_checkpoints_written_by_either_stack_open_on_this_one(folder):
    expected = json.loads((folder / "logits.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(torch.tensor([expected["ids"]])).logits[0, -1]
    torch.testing.assert_close(logits, torch.tensor(expected["logits"]), rtol=0, atol=2e-6)
    assert AutoTokenizer.from_pretrained(folder).encode("one <3> two") == expected["encoded"]


def test_generation_never_picks_a_row_that_names_nothing(saved):
    folder, model, vocabulary = saved()
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["suppress_tokens"] == list(range(vocabulary.size, vocabulary.padded_size))
    model.get_output_embeddings().weight.data[vocabulary.size :] *= 1000
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    ids = loaded.generate(packed_row([4]).input_ids, max_new_tokens=20, do_sample=True)
    assert int(ids.max()) < vocabulary.size


@pytest.mark.parametrize(
    "base", [{"temperature": 0.9, "top_p": 0.6}, {"top_k": 20}, {"min_p": 0.1, "repetition_penalty": 1.1}, {}]
)
def test_a_generation_config_with_a_temperature_and_no_sampling_is_saved(base, tmp_path):
    """All steps were done, and then transformers refused to save, for ever."""
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, **base}))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    tokenizer = train_text_tokenizer(["one two three"] * 9, 320, tmp_path / "text")
    save_checkpoint(model, tokenizer, tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert {name: written.get(name) for name in base} == base
    assert bool(written.get("do_sample")) is bool(base)
    AutoModelForCausalLM.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "again")


def test_writing_again_replaces_and_keeps_other_files(saved, tmp_path):
    folder, model, _ = saved()
    (folder / "metrics.jsonl").write_text("{}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.get_input_embeddings().weight.data.zero_()
    save_checkpoint(model, tokenizer, folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert not loaded.get_input_embeddings().weight.any()
    assert (folder / "metrics.jsonl").exists()
    assert not [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


def test_speech_section(saved, tmp_path):
    folder, _, vocabulary = saved()
    section = read_speech_section(folder)
    assert section is not None
    assert section["codebook_sizes"] == [20]
    assert section["sosp"] == vocabulary.sosp
    assert read_speech_section(tmp_path) is None


def test_damage_is_named(saved, tmp_path):
    folder, _, _ = saved()
    check_checkpoint(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"model\.safetensors is cut off"):
        check_checkpoint(folder)
    weights.unlink()
    with pytest.raises(UserError, match="no weights"):
        check_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        check_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="no finished checkpoint"):
        check_checkpoint(folder)
    with pytest.raises(UserError, match="no such"):
        check_checkpoint(tmp_path / "nowhere")


def _run(python, *folders):
    hidden = ("PYTHONPATH", "RANK", "WORLD_SIZE")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    result = subprocess.run(
        [python, "-c", PLAIN_LOGITS, *map(str, folders)],
        capture_output=True, text=True, check=False, env=environment, cwd=folders[0],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().split("\n")
