"""The systems whose speed ``compared_speed`` compares, one a process: ``python -m`` this with what to run, as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.batches.micro_batch import StepBatch
from cslm.batches.mixture import Mixture
from cslm.batches.source_config import Told
from cslm.batches.stream import BatchSizes, BatchStream
from cslm.benchmarks.paper_mixture import ACCUMULATION, LEARNING_RATE, LONGEST, MICRO_BATCH, WARM_STEPS, Shape
from cslm.sequences.sequence import Sequence, Span


class Documents:
    """The documents of a folder, what was given to the model of them, and the clock."""

    def __init__(self, folder: str) -> None:
        archive = np.load(Path(folder) / "documents.npz")
        self.lengths, self.learnt = archive["lengths"], archive["learnt"]
        self._ids, self._ends = archive["ids"], np.cumsum(archive["lengths"])
        self.given: list[tuple[int, int]] = []
        """useful tokens and slots of every micro-batch, or of every step where ``per_step`` is 1"""
        self._started = self._seconds = 0.0

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.lengths)

    def ids(self, index: int) -> NDArray[np.int64]:
        """The tokens of a document."""
        end = int(self._ends[index])
        found: NDArray[np.int64] = self._ids[end - int(self.lengths[index]) : end]
        return found

    def rows(self) -> Iterator[dict[str, list[int]]]:
        """Documents as others take them: ids, and labels with -100 where nothing is learnt."""
        for index in range(len(self)):
            ids = self.ids(index).tolist()
            prompt = len(ids) - int(self.learnt[index])
            yield {"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]}

    def start(self) -> None:
        """Start the clock, before the first step that counts."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Stop it, after the last."""
        self._seconds = time.perf_counter() - self._started

    def row(self, system: str, steps: int, per_step: int) -> dict[str, Any]:
        """What was measured; others collate ahead, so what was given is counted by its place."""
        assert self._started and self._seconds, "the clock was not started and stopped"
        counted = self.given[WARM_STEPS * per_step : (WARM_STEPS + steps) * per_step]
        assert len(counted) == steps * per_step, (len(self.given), steps, per_step)
        useful, slots = (sum(column) for column in zip(*counted, strict=True))
        return {"system": system, "useful_tokens": useful, "slot_tokens": slots, "seconds": self._seconds}


def run_padded(documents: Documents, folder: str, shape: Shape) -> None:
    """Hugging Face's Trainer, random micro-batches padded to the longest."""
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    collate = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(folder + "/model"), padding="longest")

    def counted(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = collate(rows)
        _count(documents, batch)
        return batch

    arguments = TrainingArguments(**_arguments(folder, shape), per_device_train_batch_size=MICRO_BATCH,
                                  gradient_accumulation_steps=ACCUMULATION)  # fmt: skip
    trainer = Trainer(_model(folder, shape), arguments, train_dataset=list(documents.rows()), data_collator=counted)
    _train(trainer, documents, shape)


def run_trl(documents: Documents, folder: str, shape: Shape) -> None:
    """TRL's SFTTrainer, documents packed by itself, as many tokens a step as the others."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    trl: Any = importlib.import_module("trl")
    per_step = MICRO_BATCH * ACCUMULATION * float(documents.lengths.mean())
    rows = [
        {"input_ids": row["input_ids"], "completion_mask": [int(label >= 0) for label in row["labels"]]}
        for row in documents.rows()
    ]
    arguments = trl.SFTConfig(**_arguments(folder, shape), per_device_train_batch_size=1, packing=True,
                          max_length=max(LONGEST, round(per_step)), gradient_accumulation_steps=1)  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder + "/model")
    trainer = trl.SFTTrainer(
        _model(folder, shape), arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    collate = trainer.data_collator

    def counted(rows: list[dict[str, Any]]) -> Any:
        batch = collate(rows)
        _count(documents, batch)
        return batch

    trainer.data_collator = counted
    _train(trainer, documents, shape)


def run_ours(documents: Documents, folder: str, shape: Shape) -> None:
    """This project's loop: packing, attention by document, no head where nothing is learnt."""
    from cslm.model.cpu_layers import use_cpu_layers
    from cslm.model.loss import LanguageModelLoss
    from cslm.training.engine import runs_on_cpu
    from cslm.training.loop import train
    from cslm.training.training_config import CheckpointsConfig, DeviceConfig, TrainingConfig

    tokens_per_step = round(MICRO_BATCH * ACCUMULATION * float(documents.lengths.mean()))
    config = TrainingConfig(
        max_steps=shape.steps + WARM_STEPS + 1, tokens_per_step=tokens_per_step, max_length=LONGEST,
        tokens_per_micro_batch=max(LONGEST, tokens_per_step), learning_rate=LEARNING_RATE, log_every=1000,
        checkpoints=CheckpointsConfig(save_every=1000),
        device=DeviceConfig(precision=shape.precision, zero_stage=0, num_threads=shape.threads),
    )  # fmt: skip
    stream = _Counted(drawn_stream(documents, tokens_per_step, config.tokens_per_micro_batch), documents, shape.steps)
    model = _model(folder, shape, attention="document")
    if runs_on_cpu():
        use_cpu_layers(model)
    train(
        LanguageModelLoss(model, len(stream.groups)),
        stream,
        config,
        Path(tempfile.mkdtemp(dir=folder)),
        lambda weights, folder: None,
    )


class DrawnDocuments(Protocol):
    """Documents of random ids."""

    lengths: NDArray[np.int64]
    """tokens of each"""
    learnt: NDArray[np.int64]
    """how many at its end are learnt"""

    def ids(self, index: int) -> NDArray[np.integer]:
        """The tokens of a document."""
        ...


class DrawnSource:
    """Documents of random ids as a source of ours."""

    task, languages, store, language_shares = "sft", ["en"], None, {"en": 1.0}

    def __init__(self, documents: DrawnDocuments) -> None:
        self._documents = documents
        self.num_documents, self.mean_length = len(documents.lengths), float(documents.lengths.mean())
        self.sampled_lengths = [(int(length), False) for length in documents.lengths]
        self.spelt_tokens: dict[str, int] = {}
        self.told: list[Told] = []

    def sample_places(self, count: int) -> list[int]:
        """All of them: no document is made to be looked at."""
        return list(range(self.num_documents))

    def sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``."""
        ids = self._documents.ids(index)
        prompt = len(ids) - int(self._documents.learnt[index])
        trained = np.arange(len(ids)) >= prompt
        spans = (Span(0, prompt, "text", "en", "user", False), Span(prompt, len(ids), "text", "en", "assistant", True))
        return Sequence(ids.astype(np.int32), trained, spans, self.task)

    clean_sequence = sequence

    def know_texts(self) -> None:
        """Ids are all there is."""


def drawn_stream(documents: DrawnDocuments, tokens_per_step: int, tokens_per_micro_batch: int) -> BatchStream:
    """These documents, packed."""
    source = DrawnSource(documents)
    mixture = Mixture({"documents": 1.0}, {"documents": source.mean_length}, 0)
    return BatchStream({"documents": source}, mixture, BatchSizes(tokens_per_step, tokens_per_micro_batch, LONGEST), 0)


class _Counted:
    """A stream that counts what it gives, and starts and stops the clock where a step begins."""

    def __init__(self, stream: BatchStream, documents: Documents, steps: int) -> None:
        self._stream, self._documents, self._last = stream, documents, steps + WARM_STEPS
        self.groups = stream.groups

    def step(self, position: Mapping[str, Any], rank: int, world_size: int) -> StepBatch:
        steps = len(self._documents.given)
        if steps == WARM_STEPS:
            self._documents.start()
        elif steps == self._last:
            self._documents.stop()
        batch = self._stream.step(position, rank, world_size)
        tokens = sum(row.num_slots for row in batch.micro_batches)
        self._documents.given.append((tokens, tokens))
        return batch


def _arguments(folder: str, shape: Shape) -> dict[str, Any]:
    return {
        "output_dir": folder + "/out", "max_steps": shape.steps + WARM_STEPS, "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "cosine", "save_strategy": "no", "report_to": [], "disable_tqdm": True,
        "logging_steps": 1000, "use_cpu": not torch.cuda.is_available(), "bf16": shape.precision == "bf16", "seed": 0,
        "gradient_checkpointing": False,
    }  # fmt: skip


def _model(folder: str, shape: Shape, attention: str = "sdpa") -> Any:
    from transformers import AutoModelForCausalLM

    import cslm.model.document_attention  # noqa: F401  (registers the attention)

    torch.set_num_threads(shape.threads)
    dtype = torch.bfloat16 if shape.precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder + "/model", dtype=dtype, attn_implementation=attention)
    return model.train()


def _count(documents: Documents, batch: Mapping[str, torch.Tensor]) -> None:
    ids = batch["input_ids"]
    documents.given.append((int((ids != 0).sum()), ids.numel()))


def _train(trainer: Any, documents: Documents, shape: Shape) -> None:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == WARM_STEPS:
                documents.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == WARM_STEPS + shape.steps:
                documents.stop()

    trainer.add_callback(Clock())
    trainer.train()


RUNS: dict[str, Callable[[Documents, str, Shape], None]] = {"padded": run_padded, "trl": run_trl, "ours": run_ours}


def main() -> None:
    """Run what the first argument says and print its row."""
    asked = json.loads(sys.argv[1])
    system, folder = asked.pop("system"), asked.pop("folder")
    documents = Documents(folder)
    shape = Shape(**asked)
    RUNS[system](documents, folder, shape)
    print(json.dumps(documents.row(system, shape.steps, ACCUMULATION if system == "padded" else 1)))


if __name__ == "__main__":
    main()
