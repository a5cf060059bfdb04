"""lm-evaluation-harness opens our checkpoints, with the command of the README, and says what it should."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from cslm.model.checkpoint import save_checkpoint
from cslm.model.extension import extend_model
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.sequences.vocabulary import extend_tokenizer
from tests.recipes.conftest import ROOT

FOLDER = ROOT / "recipes" / "forgetting"
NO_HARNESS = "lm-evaluation-harness is not installed: pip install lm-eval"


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def test_the_data_is_whole():
    assert len(lines("texts.jsonl")) == 24 and len(lines("choices.jsonl")) == 32
    for row in lines("choices.jsonl"):
        assert len(set(row["ends"])) == 3 and row["right"] in (0, 1, 2)
        assert all(end.startswith(" ") == (row["language"] == "en") for end in row["ends"])
    counts = [sum(row["right"] == place for row in lines("choices.jsonl")) for place in range(3)]
    assert max(counts) <= 14, "no place wins by itself"


def test_each_task_names_its_data():
    for name in ("texts", "choices"):
        task = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        assert task["task"] == f"cslm_{name}"
        assert (ROOT / task["dataset_kwargs"]["data_files"]["test"]) == FOLDER / f"{name}.jsonl"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A random base, and the same extended with 16 units; both as training saves them."""
    root = tmp_path_factory.mktemp("forgetting")
    tokenizer = train_text_tokenizer([row["text"] for row in lines("texts.jsonl")], 600, root / "text")
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    save_checkpoint(model, tokenizer, root / "base")
    vocabulary = extend_tokenizer(tokenizer, (16,))
    extend_model(model, vocabulary)
    section = {**vocabulary.to_dict(), "fingerprint": "unknown", "vocabulary_size": vocabulary.size}
    save_checkpoint(model, tokenizer, root / "extended", speech=section)
    return root / "base", root / "extended"


def test_the_command_of_the_readme_runs_on_a_base_and_on_a_checkpoint(checkpoints):
    pytest.importorskip("lm_eval", reason=NO_HARNESS)
    blocks = re.findall(r"```bash\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (command,) = [block for block in blocks if "lm_eval" in block]
    for name, folder in zip(("runs/village/text_lm", "runs/village/finetune"), checkpoints, strict=True):
        assert name in command
        command = command.replace(name, str(folder))
    command = command.replace("lm_eval ", f"{sys.executable} -m lm_eval --limit 4 ", 1)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-e", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"\|(bits_per_byte|acc) +\|[↑↓] +\| *([\d.]+)\|", done.stdout)
    assert [name for name, _ in found] == ["acc", "bits_per_byte"] * 2, done.stdout
    assert all(math.isfinite(float(value)) for _, value in found)
    before, after = (float(value) for name, value in found if name == "bits_per_byte")
    assert before < after, "rows that were not trained yet take probability from the text"


def test_new_rows_take_probability_and_nothing_else(checkpoints):
    """After - before = the logarithm of the share of the text ids, for every text; the text logits are the same."""
    pytest.importorskip("lm_eval", reason=NO_HARNESS)
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    texts = [row["text"] for row in lines("texts.jsonl")[::6]]
    before, after = (HFLM(pretrained=str(path), device="cpu", dtype="float32", batch_size=1) for path in checkpoints)
    asked = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    found = zip(*(harness.loglikelihood_rolling(asked, disable_tqdm=True) for harness in (before, after)), strict=True)
    num_text_ids = before.model.config.vocab_size
    for text, (of_base, of_extended) in zip(texts, found, strict=True):
        logits = text_logits(after.model, after.tokenizer, text)
        assert torch.equal(logits[:, :num_text_ids], text_logits(before.model, before.tokenizer, text))
        share = logits.log_softmax(-1)[:, :num_text_ids].logsumexp(-1).sum()
        assert of_extended - of_base == pytest.approx(float(share), abs=1e-3) and share < 0


def text_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> torch.Tensor:
    """Logits that foresee each id of a text, ``(ids, rows)``; the harness begins with the id that ends a text."""
    ids = [tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        return model(torch.tensor([ids[:-1]])).logits[0]
