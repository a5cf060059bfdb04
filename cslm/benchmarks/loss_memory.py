"""Memory of the output head and the loss: this project's beside the plain way, the gradient of the hidden states equal.

Each way runs in a process of its own: a Llama of one narrow layer over a vocabulary of 132,356 ids (the paper's), one
row of 8,192 tokens that are all learnt. Extra memory is the highest resident memory while head, loss and backward run,
less what was resident before. The head's weight gets no gradient: it would be the same on both sides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

VOCAB_SIZE = 132_356
NUM_TOKENS = 8192
HIDDEN_SIZE = 64
WAYS = ("plain", "ours")


def loss_memory(vocab_size: int = VOCAB_SIZE, num_tokens: int = NUM_TOKENS) -> dict[str, Any]:
    """``loss_memory_ratio``, ours by plain; ``loss_memory_mib`` of each; ``loss_gradient_difference``, relative."""
    with tempfile.TemporaryDirectory() as folder:
        mib, gradients = {}, {}
        for way in WAYS:
            file = Path(folder) / f"{way}.pt"
            command = [
                sys.executable,
                "-m",
                "cslm.benchmarks.loss_memory",
                way,
                str(vocab_size),
                str(num_tokens),
                str(file),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{way} stopped with status {done.returncode}: {done.stderr[-2000:]}")
            mib[way] = json.loads(done.stdout.splitlines()[-1])
            gradients[way] = torch.load(file, weights_only=True)
    difference = (gradients["ours"] - gradients["plain"]).abs().max() / gradients["plain"].abs().max()
    ratio = mib["ours"] / mib["plain"]
    return {"loss_memory_ratio": ratio, "loss_memory_mib": mib, "loss_gradient_difference": float(difference)}


def _measure(way: str, vocab_size: int, num_tokens: int, file: str) -> None:
    """One way in this process: prints MiB, writes the gradient of the embedded tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from cslm.batches.packed_row import PackedRow
    from cslm.model.loss import LanguageModelLoss

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=HIDDEN_SIZE, intermediate_size=HIDDEN_SIZE, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=num_tokens,
    )  # fmt: skip
    model = LlamaForCausalLM._from_config(config, attn_implementation="document" if way == "ours" else "sdpa")
    model.lm_head.weight.requires_grad_(False)
    ids = torch.randint(vocab_size, (1, num_tokens))
    row = PackedRow(
        input_ids=ids,
        position_ids=torch.arange(num_tokens)[None],
        boundaries=(0, num_tokens),
        target_positions=torch.arange(num_tokens - 1),
        target_ids=ids[0, 1:],
        target_weights=torch.ones(num_tokens - 1),
        target_groups=torch.zeros(num_tokens - 1, dtype=torch.int64),
    )
    module = LanguageModelLoss(model, num_groups=1)

    def loss() -> Tensor:
        if way == "ours":
            summed: Tensor = module(row).weighted_sum
            return summed
        logits = model(input_ids=ids, position_ids=row.position_ids, use_cache=False).logits[0, :-1].float()
        return cross_entropy(logits, row.target_ids, reduction="sum")

    before = _resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest so far starts anew
    loss().backward()
    print(json.dumps(_resident_mib("VmHWM") - before))
    torch.save(model.model.embed_tokens.weight.grad[ids[0]], file)


def _resident_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    _measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
