"""What the claims on the speech prompt read beside the corpus of their village: made from it, its tables and a pool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cslm.benchmarks.claims.spoken_tasks import SpokenTasks
from cslm.benchmarks.claims.tenth import tenth_of
from cslm.corpora.manifest import Utterance, read_manifest, write_manifest
from cslm.files.json_lines import read_json_lines, write_json_lines
from cslm.sequences.task_pool import read_pool
from cslm.village.prepare_village import tellers_of
from cslm.village.tables import load_size

LAST = "spoken_questions.jsonl"
"""What is written last: where it is, all is."""
NUM_TASK_DOCUMENTS = 40_000
"""conversations that teach the tasks in text"""
_TASKS = 2000  # a stage of the seed, beside those of prepare_village


def write_prompt_documents(corpus: Path, size: Path, pool: Path, seed: int) -> None:
    """Write into the folder of the corpus.

    - ``questions.jsonl``: the spoken questions of training, 8 in 100 of its recordings;
    - ``tasks.jsonl``: conversations in text, for the language model;
    - ``statements.jsonl``, ``statements_tenth.jsonl``, ``statements_test.jsonl``: recordings that are asked about; of
      those of training no right answer is a text of the test;
    - ``references.jsonl``: right answers about those of the test;
    - ``spoken_questions.jsonl``: spoken questions about facts that no audio of training holds, to be answered in their
      language.

    Args:
        corpus: folder of ``prepare-corpus village``, of this size and seed.
        size: YAML of the village.
        pool: YAML of the tasks.
        seed: of all that is drawn.
    """
    tasks = spoken_tasks(size, pool, seed)
    test = [it for it in read_manifest(corpus / "tts_test.jsonl") if tasks.can_be_asked(it)]
    never = {utterance.text for utterance in test}
    heard = list(read_manifest(corpus / "train.jsonl"))
    write_manifest([it for it in heard if _is_question(it)], corpus / "questions.jsonl")
    asked = [it for it in heard if tasks.can_be_asked(it)]
    train = [it for it in asked if not tasks.leads_to(it, never)]
    write_manifest(train, corpus / "statements.jsonl")
    write_manifest(tenth_of(train, lambda it: it.language, seed), corpus / "statements_tenth.jsonl")
    write_manifest(test, corpus / "statements_test.jsonl")
    write_json_lines(tasks.references(test), corpus / "references.jsonl")
    generator = np.random.default_rng([seed, _TASKS])
    write_json_lines(tasks.documents(NUM_TASK_DOCUMENTS, never, generator), corpus / "tasks.jsonl")
    write_json_lines(_spoken_questions(corpus), corpus / LAST)


def spoken_tasks(size: Path, pool: Path, seed: int) -> SpokenTasks:
    """What can be asked in the village of a size and a seed, by the tasks of a pool."""
    return SpokenTasks(tellers_of(load_size(str(size)), seed), read_pool(str(pool)))


def _is_question(utterance: Utterance) -> bool:
    return (utterance.group or "").startswith(("question-", "core-question-"))


def _spoken_questions(corpus: Path) -> Iterator[dict[str, Any]]:
    """The test questions that are answered in their own language; ``about`` says whom and what they are about."""
    card = json.loads((corpus / "card.json").read_text(encoding="utf-8"))["languages"]
    for _, row in read_json_lines(corpus / "test_dialogues.jsonl"):
        if row["question_language"] == row["answer_language"]:
            name, value = row["fact"]
            told = card[row["answer_language"]]
            attribute = next(key for key, found in told["facts"][name].items() if found == value)
            about = f"{told['people'].index(name):02d} {attribute}"
            texts = {"question_text": row["question_reference"], "answer_text": row["answer_reference"]}
            yield {**row, **texts, "about": about}
