"""Tokens and milliseconds before the answer, counted by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cslm.evaluation.reply_parts import MARKERS, ReplyParts
from cslm.evaluation.token_delay import CLOCK, delay_scores, milliseconds, part_fields, time_answers
from cslm.generation.decoding import DecodingConfig
from cslm.sequences.chains import CHAINS
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.small_village import small_tokenizer

FIELDS = ("question_text", "core_answer", "answer_text")
Q, C, A, M = "question_text", "core_answer", "answer_text", MARKERS


def parts(*owners: str, **num_begun: int) -> ReplyParts:
    texts = {name: name if name in owners else "" for name in FIELDS}
    return ReplyParts(FIELDS, texts, {name: num_begun.get(name, 1) for name in FIELDS}, "", owners)


def test_time_goes_to_the_part_whose_token_it_made() -> None:
    #      prompt and [question]  Q  Q  [thought]  C  [answer]  A  A
    reply = parts(M, Q, Q, M, C, M, A, A)
    found = milliseconds(reply, [100.0, 103.0, 107.0, 108.0, 118.0, 120.0, 150.0, 999.0])
    assert found["ms_to_answer"] == 150.0
    assert found["ms_parts"] == {"prompt": 100.0, Q: 7.0, C: 10.0, M: 3.0, "answer": 30.0}
    assert sum(found["ms_parts"].values()) == found["ms_to_answer"]


def test_an_answer_that_comes_first_waits_for_the_prompt_alone() -> None:
    found = milliseconds(parts(A, A), [80.0, 90.0])
    assert found == {"ms_to_answer": 80.0, "ms_parts": {"prompt": 80.0, Q: 0.0, C: 0.0, M: 0.0, "answer": 0.0}}


def test_without_an_answer_there_is_no_time() -> None:
    assert milliseconds(parts(M, Q), [1.0, 2.0]) == {"ms_to_answer": None, "ms_parts": None}


def line(reply: ReplyParts, **more: Any) -> dict[str, Any]:
    return {**part_fields(reply), **more}


def test_mean_median_and_95th_percentile_of_the_replies_that_have_an_answer() -> None:
    replies = [line(parts(*[Q] * long, *[C] * 2, M, A)) for long in range(1, 21)]
    replies += [line(parts(M, Q)), line(parts(M, A, question_text=2))]
    found = delay_scores(replies)
    tokens = found["token_delay"]
    assert (tokens["n"], tokens["without_answer"]) == (21, 1)
    assert tokens["mean"] == round((sum(range(4, 24)) + 1) / 21, 3) and tokens["median"] == 13.0
    assert tokens["p95"] == 22.0
    assert tokens["parts"] == {Q: round(210 / 21, 3), C: round(40 / 21, 3), M: 1.0}
    assert sum(tokens["parts"].values()) == pytest.approx(tokens["mean"], abs=0.002)
    assert found["missing_parts"] == {C: 2, A: 1, Q: 1} and found["doubled_parts"] == {Q: 1}
    assert "ms_to_answer" not in found


def test_times_are_told_with_their_clock_and_number() -> None:
    reply = parts(M, Q, M, C, A)
    replies = [line(reply, **milliseconds(reply, [10.0, 20.0, 21.0, 30.0, 30.0 + late])) for late in (10.0, 30.0)]
    lost = parts(M, Q)
    found = delay_scores([*replies, line(reply), line(lost, **milliseconds(lost, [1.0, 2.0]))])["ms_to_answer"]
    assert (found["mean"], found["median"], found["n"], found["without_answer"]) == (50.0, 50.0, 2, 1)
    assert found["parts"] == {"prompt": 10.0, Q: 10.0, C: 9.0, M: 1.0, "answer": 20.0} and found["clock"] == CLOCK


def test_lines_of_before_have_no_delay_and_a_set_without_any_answer_no_mean() -> None:
    assert delay_scores([{"answer": "Anna"}]) == {}
    found = delay_scores([line(parts(M, Q))])["token_delay"]
    assert (found["mean"], found["n"], found["without_answer"], found["parts"]) == (None, 0, 1, {})


def test_a_timed_reply_is_written_up_to_the_first_token_of_its_answer(tmp_path: Path) -> None:
    """And the first question is asked twice: what a first reply costs is no reply's own."""
    chain = CHAINS["interleaved"]
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    extend_tokenizer(tokenizer, (16,))
    form = SequenceFormat(tokenizer)
    begin = [form.vocabulary.question, *form.encoder.encode(": Who?; "), form.vocabulary.answer]
    said = form.encoder.encode(": Anna works")
    begun: list[str] = []

    def write_answer(units: str, *given: Any) -> Iterator[int]:
        begun.append(units)
        time.sleep(0.02)  # reads the prompt
        yield from [*begin, *said[:2]]  # the colon and the first word
        raise AssertionError("what comes behind the first token is not waited for")

    tasks: Any = SimpleNamespace(processor=SimpleNamespace(form=form, chain=chain), write_answer=write_answer)
    languages = {"question_language": "en", "answer_language": "en"}
    dialogues = [{"id": name, "question": f"q{name}", **languages} for name in "ab"]
    units: Any = {"qa": "units of a", "qb": "units of b"}
    found = time_answers(tasks, dialogues, units, DecodingConfig(), torch.Generator())
    assert begun == ["units of a", "units of a", "units of b"] and list(found) == ["a", "b"]
    for one in found.values():
        assert one["ms_parts"]["prompt"] >= 20 and one["ms_to_answer"] < 1000
        assert list(one["ms_parts"]) == ["prompt", "question_text", MARKERS, "answer"]
