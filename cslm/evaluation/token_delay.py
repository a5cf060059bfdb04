"""How long an answer keeps its user waiting: tokens and milliseconds before the first token of the answer itself.

XS-CoT section 7 calls it token delay: what stands before the first token of the last segment, the answer in the
language that was asked in. It is told by part; markers and layout count, apart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cslm.codecs.units import Units
from cslm.evaluation.reply_parts import ReplyParts, read_parts
from cslm.evaluation.score_contract import Record
from cslm.evaluation.score_tables import Scores
from cslm.files.progress import progress_bar
from cslm.generation.decoding import DecodingConfig
from cslm.generation.speech_tasks import SpeechTasks
from cslm.sequences.chain_reader import ChainReader, SegmentBegins
from cslm.sequences.chains import Chain
from cslm.sequences.prompts import PastTurn
from cslm.sequences.sequence_format import SequenceFormat

CLOCK = (
    "wall clock (time.perf_counter) of one reply at a time, from the ids of the prompt to the first token of the "
    "answer, running while tokens are written; the units of the question are there before, and one reply is written "
    "before the clock first starts"
)
PROMPT = "prompt"
"""The part of the time in which the prompt is read, up to the first token of the reply."""
ANSWER = "answer"
"""The part of the time in which the first token of the answer is written."""


def part_fields(parts: ReplyParts) -> Record:
    """What a line of replies.jsonl says of the parts of a reply.

    ``token_delay`` and its ``parts``; ``texts`` of the segments before the answer; which are ``missing``, ``doubled``.
    """
    return {
        "token_delay": parts.token_delay,
        "parts": parts.delay_by_part,
        "texts": {field: parts.texts[field] for field in parts.fields[:-1]},
        "missing": list(parts.missing),
        "doubled": list(parts.doubled),
    }


def time_answers(
    tasks: SpeechTasks,
    dialogues: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Units],
    decoding: DecodingConfig,
    generator: torch.Generator,
    past: Mapping[str, Sequence[PastTurn]] | None = None,
) -> dict[str, Record]:
    """Answer each of these questions alone and take the time.

    Args:
        dialogues: lines with ``id``, ``question``, ``question_language`` and ``answer_language``.
        questions: the units of each question by its id.
        generator: for decoding that draws.
        past: the turns before a question, by the id of its dialogue.

    Returns:
        By the id of the dialogue ``ms_to_answer`` and ``ms_parts`` (milliseconds; None where there is no answer); of
        what the clock says see :data:`CLOCK`.
    """
    form, chain = tasks.processor.form, tasks.processor.chain
    timed = {}
    warm_up = list(dialogues[:1])
    for dialogue in progress_bar([*warm_up, *dialogues], len(warm_up) + len(dialogues), "answer one by one"):
        asked, answered = dialogue["question_language"], dialogue["answer_language"]
        before = (past or {}).get(str(dialogue["id"]), ())
        writing = tasks.write_answer(questions[dialogue["question"]], asked, answered, decoding, generator, before)
        ids, times = _up_to_answer(writing, form, chain)
        timed[str(dialogue["id"])] = milliseconds(read_parts(form, chain, ids), times)
    return timed


def _up_to_answer(writing: Iterator[int], form: SequenceFormat, chain: Chain) -> tuple[list[int], list[float]]:
    """The ids of a reply up to the first of its answer, and after how many milliseconds of writing each was there."""
    ids: list[int] = []
    times: list[float] = []
    reader, answer = ChainReader(form, chain), chain.segments[-1].field
    has_begun, spent = False, 0.0
    while not (has_begun and answer in read_parts(form, chain, ids).owners):
        start = time.perf_counter()
        token_id = next(writing, None)
        spent += 1000 * (time.perf_counter() - start)
        if token_id is None:
            break
        ids.append(token_id)
        times.append(spent)
        events = reader.push([token_id])
        has_begun = has_begun or any(isinstance(one, SegmentBegins) and one.segment.field == answer for one in events)
    return ids, times


def milliseconds(parts: ReplyParts, times: Sequence[float]) -> Record:
    """The time to the first token of the answer, and its parts, which sum up to it.

    Args:
        times: when each token was there, milliseconds from the start.
    """
    delay = parts.token_delay
    if delay is None:
        return {"ms_to_answer": None, "ms_parts": None}
    by_part = dict.fromkeys([PROMPT, *(parts.delay_by_part or {}), ANSWER], 0.0)
    before = 0.0
    for place, now in enumerate(times[: delay + 1]):
        part = PROMPT if place == 0 else ANSWER if place == delay else parts.owners[place]
        by_part[part] += now - before
        before = now
    rounded = {part: round(spent, 3) for part, spent in by_part.items()}
    return {"ms_to_answer": round(times[delay], 3), "ms_parts": rounded}


def delay_scores(replies: Sequence[Record]) -> Record:
    """``token_delay``, ``ms_to_answer`` and what parts are missing, from lines of replies.jsonl that say so."""
    known = [reply for reply in replies if "token_delay" in reply]
    if not known:
        return {}
    whole = [reply for reply in known if reply["token_delay"] is not None]
    delay: Record = {**_spread([reply["token_delay"] for reply in whole]), "without_answer": len(known) - len(whole)}
    delay["parts"] = _means([reply["parts"] for reply in whole])
    scores: Record = {"token_delay": delay}
    for name in ("missing", "doubled"):
        scores[f"{name}_parts"] = dict(Counter(field for reply in known for field in reply[name]))
    timed = [reply for reply in known if "ms_to_answer" in reply]
    if timed:
        there = [reply for reply in timed if reply["ms_to_answer"] is not None]
        ms: Record = {**_spread([reply["ms_to_answer"] for reply in there]), "without_answer": len(timed) - len(there)}
        scores["ms_to_answer"] = {**ms, "parts": _means([reply["ms_parts"] for reply in there]), "clock": CLOCK}
    return scores


def spread_cell(scores: Scores, name: str) -> str:
    """Mean, median and 95th percentile, for a table."""
    value = scores.get(name)
    if value is None or value.get("mean") is None:
        return "–"
    small = f"median {value['median']:.0f}, p95 {value['p95']:.0f}, n {value['n']}"
    return f"{value['mean']:.1f} <small>{small}</small>"


def _spread(values: Sequence[float]) -> Record:
    if not values:
        return {"mean": None, "median": None, "p95": None, "n": 0}
    quantiles = np.quantile(np.asarray(values, dtype=np.float64), [0.5, 0.95])
    return {
        "mean": round(float(np.mean(values)), 3),
        "median": round(float(quantiles[0]), 3),
        "p95": round(float(quantiles[1]), 3),
        "n": len(values),
    }


def _means(parts: Sequence[Mapping[str, float]]) -> Record:
    """The mean of each part; all replies are of one chain."""
    names = dict.fromkeys(name for one in parts for name in one)
    return {name: round(float(np.mean([one.get(name, 0) for one in parts])), 3) for name in names}
