"""Spoken questions answered in text, by exact match and by a judge: Audio-MLQA, AudioBench's kind (LAD, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from cslm.errors import UserError
from cslm.evaluation.audio_text_model import AskedAloud, OwnAudioModel
from cslm.evaluation.facts import contains, says_the_same, share_scores
from cslm.evaluation.judge_scores import failed_cell, judge_scores, mean_cell
from cslm.evaluation.judging import Judge, JudgeConfig
from cslm.evaluation.reply_parts import read_parts
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Table, count, html_table, percent
from cslm.evaluation.scored_model import ScoredModel, load_clip, spread
from cslm.evaluation.token_delay import delay_scores, part_fields, spread_cell
from cslm.files.json_lines import read_json_lines
from cslm.generation.decoding import DecodingConfig
from cslm.sequences.audio_tasks import around_audio
from cslm.sequences.chains import chain_of

ANSWERS = "spoken_questions.jsonl"
"""the file of what was answered"""
_NEEDED = ("id", "question", "question_language", "answer_language", "answer_text")


@dataclass
class SpokenQuestionsScore(Score):
    """Questions of a manifest, each with its document's ``instruction`` before it, or around it at ``{audio}``."""

    takes_audio_models: ClassVar[bool] = True

    questions: str = ""
    """manifest of spoken questions"""
    dialogues: str = ""
    """JSON Lines as prepare-corpus audio_mlqa writes them: question, instruction, answer_text, answers"""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """how answers are decoded"""
    order: str | None = None
    """chain that replies are written in (xs_cot_labels): its answer alone is compared, and the tokens before it are
    counted; null compares all of a reply"""
    judge: JudgeConfig | None = None
    """a chat model that judges the answers; null leaves it to exact match"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: what is needed and not given, or no such chain.
        """
        for key in ("questions", "dialogues"):
            if not getattr(self, key):
                raise UserError(f"scores.spoken_questions.{key} is not given: the score needs it")
        if self.order is not None:
            chain_of(self.order)

    def files(self) -> Sequence[str]:
        """Questions and dialogues."""
        return [self.questions, self.dialogues]

    def check(self, scored: ScoredModel) -> None:
        """The model answers recordings; the judge can be opened.

        Raises:
            UserError: it does not, or cannot.
        """
        if scored.audio_model is None:
            raise UserError(
                f"scores.spoken_questions asks recordings, and {scored.config.checkpoint} reads units: give a "
                "checkpoint of train-prompt, or audio_model"
            )
        if self.order is not None and not isinstance(scored.audio_model, OwnAudioModel):
            raise UserError("scores.spoken_questions.order is of our own models: leave it out for one of transformers")
        self._judge = None
        if self.judge is not None:
            self._judge = Judge(self.judge, scored.folder / "judge_replies")
            self._judge.check(self._dialogues(scored))

    def compute(self, scored: ScoredModel) -> Computed:
        """By direction: how many answers are one of the right ones, word for word, or hold one; what the judge says."""
        audio = {utterance.id: (utterance, path) for utterance, path in scored.utterances(self.questions)}
        rows = self._dialogues(scored)
        missing = [row["question"] for row in rows if row["question"] not in audio]
        if missing:
            raise UserError(f"{scored.path(self.questions)} holds no question {missing[0]!r}: prepare the corpus again")
        by_direction: dict[str, list[Record]] = {}
        for row in rows:
            by_direction.setdefault(str(row.get("direction", row["answer_language"])), []).append(row)
        chosen = [row for found in by_direction.values() for row in spread(found, scored.config.max_items)]
        asked = [
            AskedAloud(
                load_clip(*audio[row["question"]]), row["question_language"], *around_audio(row.get("instruction"))
            )
            for row in chosen
        ]
        assert scored.audio_model is not None
        answers = scored.audio_model.answer(asked, self.decoding, "answering questions")
        lines = [self._line(scored, row, answer) for row, answer in zip(chosen, answers, strict=True)]
        if self._judge is not None:
            lines = self._judge.judge(lines)
        results = {
            name: _scores([line for line in lines if line["direction"] == name], scored) for name in by_direction
        }
        return Computed({**results, "all": _scores(lines, scored)}, {ANSWERS: lines})

    def _dialogues(self, scored: ScoredModel) -> list[Record]:
        path = scored.path(self.dialogues)
        found = []
        for number, row in read_json_lines(path):
            lacking = [name for name in _NEEDED if not isinstance(row.get(name), str)]
            if lacking:
                raise UserError(f"{path}, line {number}: misses the field {lacking[0]!r}: prepare the corpus again")
            answers = row.get("answers") or [row["answer_text"]]
            said = {"question_reference": row.get("question_text", ""), "answer_reference": row["answer_text"]}
            found.append({"direction": row["answer_language"], **said, **row, "answers": answers})
        if not found:
            raise UserError(f"{path} holds no dialogue: prepare the corpus again")
        return found

    def _line(self, scored: ScoredModel, row: Record, reply: str) -> Record:
        """What is kept of a reply: of a chain its answer, and what stands before it."""
        if self.order is None:
            return _line(row, reply)
        model = scored.audio_model
        assert isinstance(model, OwnAudioModel)
        form = model.model.processor.form
        parts = read_parts(form, chain_of(self.order), form.encoder.encode(reply))
        return {**_line(row, parts.answer), "reply": reply, **part_fields(parts)}

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """A row for each direction, and one for all."""
        columns: list[Column] = [
            ("word for word", "exact_match", percent),
            ("holds a right answer", "contains", percent),
            ("judge: right", "judge_accuracy", percent),
            ("judge: mean score", "judge_score", mean_cell),
            ("no verdict", "judge", failed_cell),
            ("tokens before the answer", "token_delay", spread_cell),
            ("n", "n", count),
        ]
        return [Table("Spoken questions", html_table(results, columns))]


def _line(row: Record, answer: str) -> Record:
    language = row["answer_language"]
    return {
        **row,
        "answer": answer,
        "exact_match": any(says_the_same(answer, right, language) for right in row["answers"]),
        "contains": any(contains(answer, right, language) for right in row["answers"]),
    }


def _scores(lines: Sequence[Record], scored: ScoredModel) -> Record:
    return {
        "n": len(lines),
        **share_scores([line["exact_match"] for line in lines], "exact_match"),
        **share_scores([line["contains"] for line in lines], "contains"),
        **judge_scores(lines, scored.bootstrap()),
        **delay_scores(lines),
    }
