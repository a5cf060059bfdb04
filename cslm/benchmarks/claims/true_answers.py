"""True answers as a store of targets: the arm that learns from them differs from imitation in its answers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import AutoTokenizer

from cslm.benchmarks.claims.spoken_tasks import SpokenTasks
from cslm.sequences.conversations import writes
from cslm.sequences.imitation import TASK, text_request
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.sequences.task_pool import Asked, Prompt
from cslm.synthesis.answered_transcripts import SCHEMA
from cslm.units.make_samples import MadeRows, Makes, SamplesJob, make_samples
from cslm.units.sample_store import TARGETS, SampleHeader, SampleStore

_ROWS_PER_SHARD = 10_000
_Row = dict[str, Any]


def write_true_answers(imitated: Path, output: Path, llm: Path, tasks: SpokenTasks) -> SampleHeader:
    """Write a store of targets as another one, row by row, with what is right in the place of what the model answered.

    Args:
        imitated: store of targets about statements of the village.
        output: folder of the new one; what is there is not made again.
        llm: folder of the language model, whose tokens are written.
        tasks: say what is right.
    """
    store = SampleStore.open(imitated, TARGETS)
    form = SequenceFormat(AutoTokenizer.from_pretrained(llm))
    making = replace(
        store.header.making, settings={**store.header.making.settings, "answers": "true"}, samples=store.digest,
        num_samples=len(store), samples_per_shard=_ROWS_PER_SHARD,
    )  # fmt: skip
    makes: Makes = partial(_answered, form, tasks)
    return make_samples(str(output), making, lambda device: makes, lambda: _rows(store), ["cpu"], "writing answers")


def _rows(store: SampleStore) -> Iterator[_Row]:
    return (store.row(index) for index in range(len(store)))


def _answered(form: SequenceFormat, tasks: SpokenTasks, job: SamplesJob) -> MadeRows:
    rows = [_with_true_answer(form, tasks, row) for row in job.samples]
    return MadeRows(pa.Table.from_pylist(rows, schema=SCHEMA))


def _with_true_answer(form: SequenceFormat, tasks: SpokenTasks, row: _Row) -> _Row:
    """The row with the answer as the template has it, without what ends it."""
    said, code = tasks.read(row["text"], row["language"]), row["language"]
    assert said is not None, f"{row['id']} is no statement"
    answer = tasks.answer(said, code, Prompt(row["task"], row["wording"], row["target_language"]))
    request = text_request(row["text"], Asked(row["before"], row["after"]), code)
    reply = Turn("assistant", row["target_language"] or code, writes(answer))
    written = form.conversation(TASK, [*request, reply], ends=False)
    return {**row, "target": written.ids[written.trained].tolist(), "answer": answer, "truncated": False}
