"""Answering held-out spoken questions: shares of right answers, error rates and latencies, by direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cslm.errors import UserError
from cslm.evaluation.answered_dialogues import answer_dialogues, read_test_dialogues
from cslm.evaluation.error_rates import text_errors
from cslm.evaluation.facts import is_off_target, share_scores, states_fact
from cslm.evaluation.judge_scores import agreement_cell, failed_cell, judge_scores, mean_cell
from cslm.evaluation.judging import Judge, JudgeConfig
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Scores, Table, count, html_table, percent
from cslm.evaluation.scored_model import ScoredModel
from cslm.evaluation.text_language import LanguageIdentifier, open_identifier, tell_language
from cslm.evaluation.token_delay import delay_scores, spread_cell
from cslm.files.json_lines import read_json_lines
from cslm.generation.decoding import DecodingConfig
from cslm.ranges import Range, check_numbers

CUTS = ("chunk", "answer")
_ANY = ("question_text",)  # lines of before say of no parts: their chains all began with a transcript


@dataclass
class DialogueScore(Score):
    """Spoken questions, answered with speech, or with text where the chain of the model has no speech."""

    questions: str
    """manifest of spoken questions"""
    dialogues: str
    """JSON Lines: which question is to be answered in which language, and the facts of a right answer"""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """how answers are decoded"""
    recognize_by: str | None = None
    """a spoken answer is heard piece by piece, cut where its chunks end: chunk, which null means; or whole: answer"""
    timed_items: int = 0
    """so many questions of each direction are answered once more, one at a time, by the clock; 0: no clock runs"""
    identify_by: str | None = None
    """what tells languages of one script apart in the answers: py3langid; null tells them by their script alone"""
    judge: JudgeConfig | None = None
    """a chat model that judges the answers; null leaves it to the exact facts"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value that is none of those that there are.
        """
        if self.recognize_by not in (None, *CUTS):
            raise UserError(f"recognize_by is {self.recognize_by!r}: choose one of {', '.join(CUTS)}")
        check_numbers(self, "scores.dialogue", timed_items=Range(least=0))

    def files(self) -> Sequence[str]:
        """Questions and dialogues."""
        return [self.questions, self.dialogues]

    def check(self, scored: ScoredModel) -> None:
        """There is a decoder, if the chain speaks; judge and identifier can be opened.

        Raises:
            UserError: a part that is missing, or a setting for speech where the model writes none.
        """
        if scored.processor.chain.speaks:
            scored.processor.speech_decoder()
        else:
            self._check_asks_for_no_speech(scored.processor.order)
        self._judge = None
        if self.judge is not None:
            self._judge = Judge(self.judge, scored.folder / "judge_replies")
            self._judge.check(line for _, line in read_json_lines(scored.path(self.dialogues)) if "id" in line)
        self._identifier = None
        if self.identify_by is not None:
            self._identifier = open_identifier(self.identify_by, "scores.dialogue.identify_by")

    def compute(self, scored: ScoredModel) -> Computed:
        """By direction, from the lines of replies.jsonl; the spoken answers are written into ``replies/``."""
        dialogues, questions = read_test_dialogues(scored, self.questions, self.dialogues)
        by_chunk = self.recognize_by != "answer"
        replies = answer_dialogues(scored, dialogues, questions, self.decoding, by_chunk, self.timed_items)
        if self._identifier is not None:
            replies = with_languages(replies, self._identifier)
        if self._judge is not None:
            replies = self._judge.judge(replies)
        return Computed(dialogue_scores(replies, scored.config.seed), {"replies.jsonl": replies})

    def _check_asks_for_no_speech(self, order: str) -> None:
        silent = f"the chain of the model is {order}, whose answers are text alone"
        if self.recognize_by is not None:
            raise UserError(f"scores.dialogue.recognize_by is {self.recognize_by}, and {silent}: leave it out")
        if self.judge is not None and self.judge.text == "heard":
            raise UserError(f"scores.dialogue.judge.text is heard, and {silent}: judge the answer")

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """A row for each direction: what is right, and how long the first speech takes."""
        columns: list[Column] = [
            ("text answers right", "text_accuracy", percent),
            ("spoken answers right", "speech_accuracy", percent),
            ("the other ear", "other_ear_accuracy", percent),
            ("judge: right", "judge_accuracy", percent),
            ("judge: mean score", "judge_score", mean_cell),
            ("judge and facts agree", "judge", agreement_cell),
            ("no verdict", "judge", failed_cell),
            ("heard against written", "asr_er", percent),
            ("transcript of the question", "question_er", percent),
            ("off target", "off_target", percent),
            ("another language", "wrong_language", percent),
            ("n", "n", count),
        ]
        delays: list[Column] = [
            ("tokens before the answer", "token_delay", spread_cell),
            ("milliseconds before the answer", "ms_to_answer", spread_cell),
        ]
        tables = [Table("Answering: held-out spoken questions", html_table(results, columns))]
        if any(column in row for row in results.values() for _, column, _ in delays):
            tables.append(Table("Before the first token of the answer", html_table(results, delays)))
        if any(row.get("tokens_to_first_speech") for row in results.values()):
            latencies = "Tokens before the first playable speech: full / interleaved order"
            tables.append(Table(latencies, _latency_table(results)))
        return tables


def dialogue_scores(replies: Sequence[Record], seed: int = 0) -> dict[str, Record]:
    """``dialogue`` by direction, from the lines of replies.jsonl alone; what no line says of is left out."""
    groups: dict[str, list[Record]] = {}
    for reply in replies:
        groups.setdefault(reply["direction"], []).append(reply)
    return {direction: _direction_scores(group, np.random.default_rng(seed)) for direction, group in groups.items()}


def with_languages(replies: Sequence[Record], identifier: LanguageIdentifier) -> list[Record]:
    """The lines again, with ``language_found``: the answer's, among all languages of the lines and English, or None."""
    names = ("question_language", "answer_language", "core_language")
    candidates = dict.fromkeys([*(reply[name] for reply in replies for name in names if name in reply), "en"])
    return [{**reply, "language_found": tell_language(reply["answer"], candidates, identifier)} for reply in replies]


def _direction_scores(replies: Sequence[Record], generator: np.random.Generator) -> Record:
    answered = replies[0]["answer_language"]
    texts = [reply["answer"] for reply in replies]
    scores: Record = {"n": len(replies)}
    with_facts = [reply for reply in replies if "fact" in reply]
    scores |= share_scores([_is_right(reply, reply["answer"]) for reply in with_facts], "text_accuracy")
    scores |= _speech_scores(replies, generator)
    scores["off_target"] = round(sum(is_off_target(text, answered) for text in texts) / len(texts), 5)
    scores |= _language_scores(replies)
    scores |= _question_scores(replies)
    others = [reply for reply in with_facts if "other_ear" in reply]
    if others:
        scores |= share_scores([_is_right(reply, reply["other_ear"]) for reply in others], "other_ear_accuracy")
        scores["other_ear_n"] = len(others)
    return scores | delay_scores(replies) | judge_scores(replies, generator)


def _speech_scores(replies: Sequence[Record], generator: np.random.Generator) -> Record:
    """Of answers that were heard."""
    spoken = [reply for reply in replies if "heard" in reply]
    if not spoken:
        return {}
    right = [_is_right(reply, reply["heard"]) for reply in spoken if "fact" in reply]
    scores = share_scores(right, "speech_accuracy")
    texts, heard = [reply["answer"] for reply in spoken], [reply["heard"] for reply in spoken]
    errors = text_errors(texts, heard, spoken[0]["answer_language"])
    low, high = errors.interval(generator)
    scores |= {"asr_er": round(errors.rate, 5), "asr_er_interval": [round(low, 5), round(high, 5)]}
    return scores | {"tokens_to_first_speech": _latencies(spoken)}


def _language_scores(replies: Sequence[Record]) -> Record:
    """``wrong_language``: the share of the answers whose language was told that are in another one."""
    known = [reply for reply in replies if "language_found" in reply]
    told = [reply for reply in known if reply["language_found"] is not None]
    if not known:
        return {}
    wrong = [reply["language_found"] != reply["answer_language"] for reply in told]
    return {
        **share_scores(wrong, "wrong_language"),
        "language_told": len(told),
        "language_untold": len(known) - len(told),
    }


def _question_scores(replies: Sequence[Record]) -> Record:
    """``question_er``, where the chain writes a transcript of the question."""
    known = [reply for reply in replies if "question" in reply and "question_reference" in reply]
    transcribed = [reply for reply in known if "question_text" in reply.get("texts", _ANY)]
    if not transcribed:
        return {}
    references = [reply["question_reference"] for reply in transcribed]
    transcripts = [reply["question"] or "" for reply in transcribed]
    errors = text_errors(references, transcripts, transcribed[0]["question_language"])
    return {"question_er": round(errors.rate, 5)}


def _is_right(reply: Record, text: str) -> bool:
    return states_fact(text, reply["fact"], reply["wrong_facts"], reply["answer_language"])


def _latencies(replies: Sequence[Record]) -> Record:
    """Mean tokens before the first playable speech, by the number of chunks, in the two orders of the same replies."""
    scores: Record = {}
    spoken = [reply for reply in replies if reply.get("num_chunks") and reply.get("tokens_to_first_speech")]
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
