"""Prompt and task generalization (MTBI): a grid of (seen, unseen wording) x (seen, unseen task).

Each row of a store of targets is asked aloud: the recording in the place of the transcript. Beside the model stand the
text-only language model, whose answers are the targets, and the cascade: the model's own transcript, answered by the
language model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cslm.audio.clip import Clip
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError
from cslm.evaluation.audio_text_model import AskedAloud, OwnAudioModel
from cslm.evaluation.facts import says_the_same, share_scores
from cslm.evaluation.paired_tests import ratio_interval
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Scores, Table, count, html_table, percent
from cslm.evaluation.scored_model import ScoredModel, load_clip, spread
from cslm.evaluation.teacher_agreement import agreement
from cslm.files.json_lines import read_json_lines
from cslm.generation.decoding import DecodingConfig
from cslm.generation.text_answers import text_answers
from cslm.model.frozen_llm import LANGUAGE_MODEL, FrozenLLM, open_frozen_llm
from cslm.ranges import Range, check_numbers
from cslm.sequences.imitation import text_request
from cslm.sequences.task_pool import CELLS, Asked
from cslm.units.sample_store import TARGETS, SampleStore

ANSWERS = "imitation.jsonl"
"""the file of what was answered"""
_Row = dict[str, Any]


@dataclass
class ImitationScore(Score):
    """Answers to recordings under the prompts of a store of targets, by cells of the grid."""

    takes_audio_models: ClassVar[bool] = True

    manifest: str = ""
    """recordings, with the transcripts that the targets were made from"""
    targets: str = ""
    """store of targets (make-targets --cells '[seen, unseen_wordings, unseen_tasks, unseen_both]')"""
    references: str | None = None
    """JSON Lines of right answers: id, task, answer, perhaps target_language; null scores agreement alone"""
    cascade: bool = True
    """also answer the model's own transcripts by the language model"""
    llm: str | None = None
    """language model of the cascade: a folder or a Hub id; null takes the one that our model was trained before"""
    transcribe: str = "Repeat the following word for word: {input}"
    """how the model is asked for a transcript; {input} is the recording"""
    max_new_tokens: int | None = None
    """of an answer; null takes that of the targets"""
    batch_size: int = 16
    """answers decoded together"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, or what is needed and not given.
        """
        for key in ("manifest", "targets"):
            if not getattr(self, key):
                raise UserError(f"scores.imitation.{key} is not given: the score needs it")
        if "{input}" not in self.transcribe:
            raise UserError(f"scores.imitation.transcribe is {self.transcribe!r}: it says no {{input}}")
        at_least_one = Range(least=1)
        check_numbers(self, "scores.imitation", max_new_tokens=at_least_one, batch_size=at_least_one)

    def files(self) -> Sequence[str]:
        """Manifest, header of the store, references."""
        return [self.manifest, f"{self.targets}/header.json", *([self.references] if self.references else ())]

    def check(self, scored: ScoredModel) -> None:
        """The model answers recordings; the language model of the cascade and the references are opened.

        Raises:
            UserError: it does not, or they cannot be; or the targets are of another language model than ours was
                trained before, or than the cascade's.
        """
        if scored.audio_model is None:
            raise UserError(
                f"scores.imitation asks recordings, and {scored.config.checkpoint} reads units: give a checkpoint of "
                "train-prompt, or audio_model"
            )
        own = isinstance(scored.audio_model, OwnAudioModel)
        if self.cascade and self.llm is None and not own:
            raise UserError("scores.imitation.cascade needs a language model: give llm, or set cascade to false")
        if own:
            hashes = scored.audio_model.model.processor.hearing.hashes  # type: ignore[attr-defined]
            wanted = {name: value for name, value in hashes.items() if name == LANGUAGE_MODEL}
            self._store(scored).check_made_with(wanted, f"the language model of {scored.config.checkpoint}")
        self._named_llm: FrozenLLM | None = None
        if self.cascade and self.llm is not None:
            device = make_runtime(scored.config.device, BATCH_SEC).device
            self._named_llm = open_frozen_llm(self.llm, device=device)
            wanted = {LANGUAGE_MODEL: self._named_llm.hashes[LANGUAGE_MODEL]}
            self._store(scored).check_made_with(wanted, f"scores.imitation.llm {self.llm}")
        self._right_answers = self._read_references(scored)

    def compute(self, scored: ScoredModel) -> Computed:
        """By cell: agreement with the text-only model, accuracy where there are references, the same of the cascade."""
        rows, clips = self._rows(scored)
        store, model = self._store(scored), scored.audio_model
        assert model is not None
        most = self.max_new_tokens or int(store.header.making.settings["max_new_tokens"])
        decoding = DecodingConfig(most, batch_size=self.batch_size)
        asked = [AskedAloud(clips[row["id"]], row["language"], row["before"], row["after"]) for row in rows]
        begun = time.perf_counter()
        answers = model.answer(asked, decoding, "answering recordings")
        seconds = {"seconds_per_answer": (time.perf_counter() - begun) / max(1, len(rows))}
        lines = [self._line(row, answer) for row, answer in zip(rows, answers, strict=True)]
        if self.cascade:
            begun = time.perf_counter()
            self._add_cascade(scored, rows, lines, clips, decoding)
            seconds["cascade_seconds_per_answer"] = (time.perf_counter() - begun) / max(1, len(rows))
        if isinstance(model, OwnAudioModel):
            for row, line in zip(rows, lines, strict=True):
                found = agreement(model.model, clips[row["id"]], row)
                line |= {"divergence": found.divergence, "agreeing": found.agreeing, "tokens": found.tokens}
        for line in lines:
            reference = self._right_answers.get((line["id"], line["task"], line["target_language"] or ""))
            line |= {} if reference is None else {"reference": reference}
        by_cell = {cell: [line for line in lines if line["cell"] == cell] for cell in CELLS}
        results: Record = {
            "cells": {cell: _scores(found, scored.bootstrap()) for cell, found in by_cell.items() if found},
            **{name: round(value, 5) for name, value in seconds.items()},
        }
        tasks = dict.fromkeys(line["task"] for line in lines)
        results["tasks"] = {
            task: _scores([line for line in lines if line["task"] == task], scored.bootstrap()) for task in tasks
        }
        return Computed(results, {ANSWERS: lines})

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """A row for each cell of the grid, and one for each task."""
        columns: list[Column] = [
            ("as the text-only model", "exact", percent),
            ("tokens as it", "token_agreement", percent),
            ("KL a token", "divergence", _nats),
            ("cascade as it", "cascade_exact", percent),
            ("right", "accuracy", percent),
            ("text-only right", "text_accuracy", percent),
            ("cascade right", "cascade_accuracy", percent),
            ("n", "n", count),
        ]
        named = {cell.replace("_", " "): scores for cell, scores in results["cells"].items()}
        heading = "Prompt and task generalization"
        return [
            Table(heading, html_table(named, columns)),
            Table(f"{heading}: by task", html_table(results["tasks"], columns)),
        ]

    def _store(self, scored: ScoredModel) -> SampleStore:
        return SampleStore.open(scored.path(self.targets), TARGETS)

    def _rows(self, scored: ScoredModel) -> tuple[list[_Row], dict[str, Clip]]:
        """Rows with a recording, ``max_items`` of each cell, and the recordings by id."""
        places = {utterance.id: (utterance, path) for utterance, path in scored.utterances(self.manifest)}
        store = self._store(scored)
        ids, cells = store.column("id").tolist(), store.column("cell").tolist()
        known = [index for index, name in enumerate(ids) if name in places]
        if not known:
            raise UserError(f"{scored.path(self.manifest)} holds no recording of {store.path}: name the right manifest")
        if len(known) < len(ids):
            print(f"imitation: {len(ids) - len(known)} targets have no recording in the manifest and are left out")
        chosen = [
            index
            for cell in CELLS
            for index in spread([it for it in known if cells[it] == cell], scored.config.max_items)
        ]
        rows = [store.row(index) for index in chosen]
        for row in rows:
            if places[row["id"]][0].text != row["text"]:
                raise UserError(
                    f"the target of {row['id']} was made from the transcript {row['text']!r}, and the manifest says "
                    f"{places[row['id']][0].text!r}: make the targets from this manifest"
                )
        return rows, {name: load_clip(*places[name]) for name in dict.fromkeys(row["id"] for row in rows)}

    def _line(self, row: _Row, answer: str) -> Record:
        names = ("id", "language", "task", "wording", "target_language", "cell", "before", "after", "text")
        return {**{name: row[name] for name in names}, "text_answer": row["answer"].strip(), "answer": answer}

    def _add_cascade(
        self,
        scored: ScoredModel,
        rows: Sequence[_Row],
        lines: Sequence[Record],
        clips: Mapping[str, Clip],
        decoding: DecodingConfig,
    ) -> None:
        """Each recording is transcribed for each row: what a cascade would do for one request."""
        model, llm = scored.audio_model, self._llm(scored)
        assert model is not None
        before, _, after = self.transcribe.partition("{input}")
        asked = [AskedAloud(clips[row["id"]], row["language"], before, after) for row in rows]
        heard = model.answer(asked, decoding, "transcribing for the cascade")
        prompts = []
        for row, text in zip(rows, heard, strict=True):
            request = text_request(text, Asked(row["before"], row["after"]), row["language"])
            prompts.append(llm.form.prompt(row["task"], request).ids)
        answers = text_answers(llm, prompts, decoding.max_new_tokens, self.batch_size, "answering transcripts")
        for line, text, answer in zip(lines, heard, answers, strict=True):
            line |= {"heard": text, "cascade_answer": answer.text.strip()}

    def _llm(self, scored: ScoredModel) -> FrozenLLM:
        if self._named_llm is not None:
            return self._named_llm
        assert isinstance(scored.audio_model, OwnAudioModel)
        return scored.audio_model.text_only()

    def _read_references(self, scored: ScoredModel) -> dict[tuple[str, str, str], str]:
        """The right answers that are known, by id, task and target language."""
        right = dict[tuple[str, str, str], str]()
        if self.references is None:
            return right
        path = scored.path(self.references)
        for number, record in read_json_lines(path):
            try:
                key = str(record["id"]), str(record["task"]), str(record.get("target_language") or "")
                right[key] = str(record["answer"])
            except KeyError as error:
                raise UserError(f"{path}, line {number}: misses {error}; every line has id, task, answer") from None
        return right


def _scores(lines: Sequence[Record], generator: np.random.Generator) -> Record:
    """The scores of a cell, or of a task."""
    scores: Record = {"n": len(lines)}
    scores |= share_scores([_same(line["answer"], line["text_answer"], line) for line in lines], "exact")
    if "cascade_answer" in lines[0]:
        hits = [_same(line["cascade_answer"], line["text_answer"], line) for line in lines]
        scores |= share_scores(hits, "cascade_exact")
    if "tokens" in lines[0]:
        tokens = np.array([line["tokens"] for line in lines])
        scores |= _mean("divergence", np.array([line["divergence"] for line in lines]), tokens, generator)
        scores |= _mean("token_agreement", np.array([line["agreeing"] for line in lines]), tokens, generator)
    known = [line for line in lines if "reference" in line]
    for name, of in (("accuracy", "answer"), ("text_accuracy", "text_answer"), ("cascade_accuracy", "cascade_answer")):
        hits = [_same(line[of], line["reference"], line) for line in known if of in line]
        scores |= share_scores(hits, name)
    return scores


def _same(one: str, other: str, line: Record) -> bool:
    """Whether two answers say the same, but for case and punctuation."""
    return says_the_same(one, other, line["target_language"] or line["language"])


def _mean(name: str, sums: np.ndarray, counts: np.ndarray, generator: np.random.Generator) -> Record:
    """All sums over all counts, and its 95 % bootstrap interval over answers."""
    low, high = ratio_interval(sums, counts, 1000, generator)
    value = float(sums.sum() / max(1, counts.sum()))
    return {name: round(value, 5), f"{name}_interval": [round(low, 5), round(high, 5)]}


def _nats(scores: Scores, name: str) -> str:
    value = scores.get(name)
    return "–" if value is None else f"{value:.3f}"
