"""Transcripts under prompts, answered greedily by a frozen language model: the rows of a store of targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance
from cslm.generation.decoding import context_length
from cslm.generation.text_answers import TextAnswer, text_answers
from cslm.model.frozen_llm import FrozenLLM, open_frozen_llm
from cslm.sequences.imitation import text_request
from cslm.sequences.task_pool import Asked, Prompt, TaskPool
from cslm.units.make_samples import MadeRows, SamplesJob

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("task", pa.string()),
        ("wording", pa.int32()),
        ("target_language", pa.string()),
        ("cell", pa.string()),
        ("transcribes", pa.bool_()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("target", pa.list_(pa.int32())),
        ("answer", pa.string()),
        ("truncated", pa.bool_()),
    ]
)
"""``target``: the ids that were written, without the one that ended them; ``answer`` is what they say."""


class _Question(NamedTuple):
    utterance: Utterance
    cell: str
    prompt: Prompt
    asked: Asked
    ids: npt.NDArray[np.int32]


class AnsweredTranscripts:
    """What makes the rows of a shard. Batches are those of the shard alone: who makes it changes nothing."""

    def __init__(self, llm: FrozenLLM, pool: TaskPool, max_new_tokens: int, batch_size: int) -> None:
        """Answer by ``llm``.

        Args:
            max_new_tokens: longer answers are cut off there.
            batch_size: prompts decoded together.
        """
        self._llm, self._pool = llm, pool
        self._sizes = max_new_tokens, batch_size
        self._context = context_length(llm.model)

    def __call__(self, job: SamplesJob) -> MadeRows:
        """Answer the samples of a job; its rows are in their order."""
        questions, rejected = list[_Question](), list[dict[str, str]]()
        for utterance, prompts in job.samples:
            found = [self._question(utterance, cell, prompt) for cell, prompt in prompts]
            reason = self._unusable(utterance, found)
            if reason is None:
                questions += found
            else:
                rejected.append({"id": utterance.id, "reason": reason})
        answers = text_answers(self._llm, [question.ids for question in questions], *self._sizes)
        rows = [self._row(question, answer) for question, answer in zip(questions, answers, strict=True)]
        counts = {
            "cut off": sum(row["truncated"] for row in rows),
            "of no token": sum(not row["target"] for row in rows),
            "tokens": sum(len(row["target"]) for row in rows),
        }
        return MadeRows(pa.Table.from_pylist(rows, schema=SCHEMA), rejected, counts)

    def _question(self, utterance: Utterance, cell: str, prompt: Prompt) -> _Question:
        asked = self._pool.asked(prompt, utterance.language)
        request = text_request(utterance.text, asked, language_tag(utterance.language))
        return _Question(utterance, cell, prompt, asked, self._llm.form.prompt(prompt.task, request).ids)

    def _unusable(self, utterance: Utterance, questions: Sequence[_Question]) -> str | None:
        if not utterance.text.strip():
            return "it has no transcript"
        if not questions:
            return f"the pool has no wording in {utterance.language} for any of the cells"
        longest = max((len(question.ids) for question in questions), default=0)
        most, _ = self._sizes
        if self._context is not None and longest + most > self._context:
            room = f"{most} more in the model's context of {self._context}"
            return f"its prompt of {longest} tokens leaves no room for {room}"
        return None

    def _row(self, question: _Question, answer: TextAnswer) -> dict[str, Any]:
        utterance, prompt = question.utterance, question.prompt
        return {
            "id": utterance.id,
            "language": language_tag(utterance.language),
            "text": utterance.text,
            "task": prompt.task,
            "wording": prompt.wording,
            "target_language": prompt.target,
            "cell": question.cell,
            "transcribes": self._pool.tasks[prompt.task].transcribes,
            "before": question.asked.before,
            "after": question.asked.after,
            "target": answer.ids,
            "answer": answer.text,
            "truncated": answer.truncated,
        }


def open_answering(
    place: str, revision: str | None, dtype: str, pool: TaskPool, max_new_tokens: int, batch_size: int, device: str
) -> AnsweredTranscripts:
    """The same in a process of its own.

    Raises:
        UserError: the model cannot be opened.
    """
    return AnsweredTranscripts(open_frozen_llm(place, revision, dtype, device), pool, max_new_tokens, batch_size)
