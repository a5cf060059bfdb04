"""How fast training is, beside what others run: same documents, weights, threads, precision and tokens a step.

The systems (``python tools/bench_train.py``): ``padded``, Hugging Face's Trainer with ``DataCollatorForSeq2Seq`` and
random micro-batches of 2 padded to the longest, 6 of them a step (the settings of CSLM's authors); ``trl``, TRL's
SFTTrainer with its own packing; ``ours``. Lengths are drawn from the paper's mixture (CSLM table 3). Each run is a
process of its own, the systems take turns, and the clock starts after the first steps. Useful tokens are those of
documents, prompts included; slots are what the model was given.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.batches.packing import pack
from cslm.benchmarks.paper_mixture import ACCUMULATION, LONGEST, MICRO_BATCH, RANKS, WARM_STEPS, Shape, drawn_lengths
from cslm.benchmarks.process_environment import without_ranks
from cslm.errors import UserError

SYSTEMS = ("padded", "trl", "ours")
ROWS = (512, 1024, 2048, 4096, 8192)


def padding_share(lengths: NDArray[np.int64]) -> float:
    """Padding of micro-batches as ``padded`` makes them."""
    rows = lengths[: len(lengths) // MICRO_BATCH * MICRO_BATCH].reshape(-1, MICRO_BATCH)
    return 1 - float(rows.sum() / (rows.max(axis=1).sum() * MICRO_BATCH))


def slots_of_authors(lengths: NDArray[np.int64]) -> float:
    """Useful tokens by slots paid for on 24 processes, as ``padded`` fills them; a step waits for its slowest."""
    per_step = RANKS * ACCUMULATION * MICRO_BATCH
    steps = lengths[: len(lengths) // per_step * per_step].reshape(-1, RANKS, ACCUMULATION, MICRO_BATCH)
    paid = steps.max(axis=3).sum(axis=2).max(axis=1).sum() * MICRO_BATCH * RANKS
    return float(steps.sum() / paid)


def slots_as_planned(lengths: NDArray[np.int64]) -> float:
    """The same with this project's rows of up to 2,048 tokens, each micro-batch waiting for its longest."""
    used = paid = 0
    for documents in _windows(lengths, LONGEST):
        sizes = np.array([int(documents[row].sum()) for row in pack(documents, LONGEST, RANKS)])
        used, paid = used + int(sizes.sum()), paid + int(sizes.reshape(-1, RANKS).max(axis=1).sum()) * RANKS
    return used / paid


def waste(lengths: NDArray[np.int64], row: int) -> float:
    """What best-fit-decreasing leaves empty of rows of so many tokens, in windows of one step, rows shared or not.

    Documents that are longer than a row are left out.
    """
    used = capacity = 0
    for documents in _windows(lengths[lengths <= row], row):
        used, capacity = used + int(documents.sum()), capacity + row * len(pack(documents, row))
    return 1 - used / capacity


def _windows(lengths: NDArray[np.int64], row: int) -> Iterator[NDArray[np.int64]]:
    """Documents of one step after the other, as many as fit into the rows of all micro-batches of all processes."""
    ends, start = np.cumsum(lengths), 0
    while True:
        before = int(ends[start - 1]) if start else 0
        if ends[-1] - before <= RANKS * ACCUMULATION * row:
            return
        stop = int(np.searchsorted(ends, before + RANKS * ACCUMULATION * row, "right"))
        yield lengths[start:stop]
        start = stop


def training_speed(shape: Shape, systems: tuple[str, ...], repeats: int) -> list[dict[str, Any]]:
    """Rows ``system``, ``useful_tokens``, ``slot_tokens``, ``seconds``, for each system in each repeat.

    Raises:
        UserError: a system whose package is not installed.
    """
    per_step = MICRO_BATCH * ACCUMULATION
    with tempfile.TemporaryDirectory() as folder:
        lengths, learnt = drawn_lengths(2 * per_step * (shape.steps + WARM_STEPS))
        ids = np.random.default_rng(1).integers(4, shape.vocab_size, int(lengths.sum()))
        np.savez(Path(folder) / "documents.npz", ids=ids, lengths=lengths, learnt=learnt)
        _save_model(shape, Path(folder) / "model")
        return [_in_a_process(system, shape, folder) for _ in range(repeats) for system in systems]


def _save_model(shape: Shape, folder: Path) -> None:
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from tokenizers import Tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocab_size, hidden_size=shape.hidden_size, intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers, num_attention_heads=max(1, shape.hidden_size // 64),
        max_position_embeddings=2 * LONGEST, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}, unk_token="<unk>"))
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **named).save_pretrained(folder)


def _in_a_process(system: str, shape: Shape, folder: str) -> dict[str, Any]:
    asked = json.dumps({"system": system, "folder": folder, **asdict(shape)})
    environment = {**without_ranks(), "OMP_NUM_THREADS": str(shape.threads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "cslm.benchmarks.compared_systems", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        if "No module named 'trl'" in done.stderr:
            raise UserError("the system trl needs the package trl: pip install trl, or leave it out (--systems)")
        raise RuntimeError(f"{system} stopped with status {done.returncode}: {done.stderr[-3000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{system}: {row['useful_tokens'] / row['seconds']:.0f} useful tokens a second", file=sys.stderr, flush=True)
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Useful tokens a second by system (the median of the repeats), their ratios, and the rows."""
    speeds = {
        system: statistics.median(row["useful_tokens"] / row["seconds"] for row in rows if row["system"] == system)
        for system in dict.fromkeys(row["system"] for row in rows)
    }
    found: dict[str, Any] = {f"{system}_tokens_per_sec": speed for system, speed in speeds.items()}
    for other, name in (("padded", "ours_vs_padded"), ("trl", "ours_vs_packed")):
        if "ours" in speeds and other in speeds:
            found[name] = speeds["ours"] / speeds[other]
    lengths, _ = drawn_lengths(200_000)
    by_row = {str(row): waste(lengths, row) for row in ROWS}
    found |= {"slot_efficiency_planned": slots_as_planned(lengths), "packing_waste": by_row[str(LONGEST)]}
    return {**found, "packing_waste_by_row": by_row, "slot_efficiency_authors": slots_of_authors(lengths), "rows": rows}
