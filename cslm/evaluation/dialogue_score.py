"""Answering held-out spoken questions: shares of right answers, error rates and latencies, by direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cslm.errors import UserError
from cslm.evaluation.answered_dialogues import answer_dialogues, read_test_dialogues
from cslm.evaluation.error_rates import text_errors
from cslm.evaluation.facts import is_off_target, share_scores, states_fact
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Scores, Table, count, html_table, percent
from cslm.evaluation.scored_model import ScoredModel
from cslm.generation.decoding import DecodingConfig

CUTS = ("chunk", "answer")


@dataclass
class DialogueScore(Score):
    """Spoken questions, answered with speech."""

    questions: str
    """manifest of spoken questions"""
    dialogues: str
    """JSON Lines: which question is to be answered in which language, and the facts of a right answer"""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """how answers are decoded"""
    recognize_by: str = "chunk"
    """a spoken answer is heard chunk by chunk, as it would be played while it is written; or whole: answer"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value that is none of those that there are.
        """
        if self.recognize_by not in CUTS:
            raise UserError(f"recognize_by is {self.recognize_by!r}: choose one of {', '.join(CUTS)}")

    def files(self) -> Sequence[str]:
        """Questions and dialogues."""
        return [self.questions, self.dialogues]

    def check(self, scored: ScoredModel) -> None:
        """There is a decoder.

        Raises:
            UserError: there is none.
        """
        scored.processor.speech_decoder()

    def compute(self, scored: ScoredModel) -> Computed:
        """By direction, from the lines of replies.jsonl; the spoken answers are written into ``replies/``."""
        dialogues, questions = read_test_dialogues(scored, self.questions, self.dialogues)
        replies = answer_dialogues(scored, dialogues, questions, self.decoding, self.recognize_by == "chunk")
        return Computed(dialogue_scores(replies, scored.config.seed), {"replies.jsonl": replies})

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """A row for each direction: what is right, and how long the first speech takes."""
        columns: list[Column] = [
            ("text answers right", "text_accuracy", percent),
            ("spoken answers right", "speech_accuracy", percent),
            ("the other ear", "other_ear_accuracy", percent),
            ("heard against written", "asr_er", percent),
            ("transcript of the question", "question_er", percent),
            ("off target", "off_target", percent),
            ("n", "n", count),
        ]
        latencies = "Tokens before the first playable speech: full / interleaved order"
        return [
            Table("Answering: held-out spoken questions", html_table(results, columns)),
            Table(latencies, _latency_table(results)),
        ]


def dialogue_scores(replies: Sequence[Record], seed: int = 0) -> dict[str, Record]:
    """``dialogue`` by direction, from the lines of replies.jsonl alone."""
    groups: dict[str, list[Record]] = {}
    for reply in replies:
        groups.setdefault(reply["direction"], []).append(reply)
    return {direction: _direction_scores(group, np.random.default_rng(seed)) for direction, group in groups.items()}


def _direction_scores(replies: Sequence[Record], generator: np.random.Generator) -> Record:
    asked, answered = replies[0]["question_language"], replies[0]["answer_language"]
    texts = [reply["answer"] for reply in replies]
    heard = [reply["heard"] for reply in replies]
    scores: Record = {"n": len(replies)}
    scores |= share_scores([_is_right(reply, reply["answer"]) for reply in replies], "text_accuracy")
    scores |= share_scores([_is_right(reply, reply["heard"]) for reply in replies], "speech_accuracy")
    errors = text_errors(texts, heard, answered)
    low, high = errors.interval(generator)
    scores |= {"asr_er": round(errors.rate, 5), "asr_er_interval": [round(low, 5), round(high, 5)]}
    scores["off_target"] = round(sum(is_off_target(text, answered) for text in texts) / len(texts), 5)
    transcripts = [reply["question"] or "" for reply in replies]
    questions = text_errors([reply["question_reference"] for reply in replies], transcripts, asked)
    scores["question_er"] = round(questions.rate, 5)
    others = [reply for reply in replies if "other_ear" in reply]
    if others:
        scores |= share_scores([_is_right(reply, reply["other_ear"]) for reply in others], "other_ear_accuracy")
        scores["other_ear_n"] = len(others)
    scores["tokens_to_first_speech"] = _latencies(replies)
    return scores


def _is_right(reply: Record, text: str) -> bool:
    return states_fact(text, reply["fact"], reply["wrong_facts"], reply["answer_language"])


def _latencies(replies: Sequence[Record]) -> Record:
    """Mean tokens before the first playable speech, by the number of chunks, in the two orders of the same replies."""
    scores: Record = {}
    spoken = [reply for reply in replies if reply["num_chunks"] and reply["tokens_to_first_speech"]]
    for num_chunks in sorted({reply["num_chunks"] for reply in spoken}):
        found = [reply["tokens_to_first_speech"] for reply in spoken if reply["num_chunks"] == num_chunks]
        interleaved = float(np.mean([tokens["interleaved"] for tokens in found]))
        full = float(np.mean([tokens["full"] for tokens in found]))
        scores[str(num_chunks)] = {
            "interleaved": round(interleaved, 2),
            "full": round(full, 2),
            "ratio": round(full / interleaved, 3),
            "n": len(found),
        }
    return scores


def _latency_table(dialogue: Scores) -> str:
    """A row for each direction, a column for each number of chunks: how many times longer the full order takes."""
    rows = {direction: scores.get("tokens_to_first_speech", {}) for direction, scores in dialogue.items()}
    numbers = sorted({chunks for row in rows.values() for chunks in row}, key=int)
    return html_table(rows, [(f"{chunks} chunk{'s' * (chunks != '1')}", chunks, _latency) for chunks in numbers])


def _latency(scores: Scores, name: str) -> str:
    value = scores.get(name)
    if value is None:
        return "–"
    small = f"{value['full']:.0f} / {value['interleaved']:.0f}, n {value['n']}"
    return f"{value['ratio']:.2f} × <small>{small}</small>"
