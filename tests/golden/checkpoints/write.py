"""Writes the checkpoints of this folder with the installed transformers: run it once on each stack."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from cslm.model.checkpoint import save_checkpoint  # noqa: E402
from cslm.model.extension import extend_model  # noqa: E402
from cslm.sequences.text_tokenizer import train_text_tokenizer  # noqa: E402
from cslm.sequences.vocabulary import extend_tokenizer  # noqa: E402

SCALED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SCALED["original_max_position_embeddings"] = 64
ROTARY = {
    "llama": {"rope_theta": 50_000.0, "rope_scaling": SCALED},
    "qwen3": {"rope_theta": 1_000_000.0, "head_dim": 8},
}

for family, tied in (("llama", False), ("qwen3", True)):
    folder = HERE / f"transformers{transformers.__version__.split('.')[0]}-{family}"
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = train_text_tokenizer(["one two three"] * 9, 300, folder / "text")
    shutil.rmtree(folder / "text")
    vocabulary = extend_tokenizer(tokenizer, (8,))
    config = AutoConfig.for_model(
        family, vocab_size=vocabulary.num_text_ids, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=tied, max_position_embeddings=256,
        pad_token_id=0, bos_token_id=None, eos_token_id=2, **ROTARY[family],
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    extend_model(model, vocabulary)
    save_checkpoint(model, tokenizer, folder, speech={**vocabulary.to_dict(), "fingerprint": "unknown"})
    ids = torch.randint(3, vocabulary.size, (1, 100), generator=torch.Generator().manual_seed(0))
    facts = {"ids": ids[0].tolist(), "logits": model(ids).logits[0, -1].tolist()}
    facts["encoded"] = tokenizer.encode("one <3> two")
    (folder / "logits.json").write_text(json.dumps(facts) + "\n")
