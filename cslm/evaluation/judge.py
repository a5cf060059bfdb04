"""Judge replies that lie in a file, of any system: ``python tools/judge.py REPLIES.jsonl --output judged.json``.

No model is opened but the judge. The lines are those of ``score``'s ``replies.jsonl``, or those of another system with
its own names for the fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.configuration import parse_configuration, save_configuration
from cslm.corpora.languages import language_tag
from cslm.corpora.text_documents import half_of_a_character
from cslm.errors import UserError
from cslm.evaluation.dialogue_score import dialogue_scores, with_languages
from cslm.evaluation.judging import Judge, JudgeConfig, check_ids
from cslm.evaluation.score_contract import Record
from cslm.evaluation.text_language import open_identifier
from cslm.files.atomic_file import write_atomically
from cslm.files.json_lines import read_json_lines, write_json_lines

_LANGUAGES = ("question_language", "answer_language")


@dataclass
class JudgeRepliesConfig:
    """Replies in a file, judged."""

    replies: str
    """JSON Lines: id, question, answer, ..., as in replies.jsonl"""
    output: str
    """results to write (JSON), of the form of results.json; the lines with their verdicts come beside it (.jsonl)"""
    judge: JudgeConfig | None = None
    """the judge; null counts exact facts, languages and delays alone"""
    fields: dict[str, str] = field(default_factory=dict)
    """what the file calls a field: {answer: response, question: prompt}"""
    question_language: str | None = None
    """language of the questions, where the lines do not say it"""
    answer_language: str | None = None
    """language that the answers should be in, where the lines do not say it"""
    identify_by: str | None = None
    """what tells languages of one script apart in the answers: py3langid; null tells them by their script alone"""
    seed: int = 0
    """for the bootstrap"""


def judge(config: JudgeRepliesConfig) -> dict[str, Any]:
    """Judge the replies; returns the results: ``scores.dialogue`` by direction, and the seed.

    Killed, it goes on where it was: what the judge said is kept in ``judge_replies`` beside the output.

    Raises:
        UserError: lines that lack what is needed, or a judge that cannot be asked.
    """
    output = Path(config.output)
    lines = output.with_suffix(".jsonl")
    if output.suffix == ".jsonl" or lines.resolve() == Path(config.replies).resolve():
        raise UserError(
            f"output is {config.output}: the lines are written to {lines}: give another name, as judged.json"
        )
    replies = read_replies(config)
    if config.identify_by is not None:
        replies = with_languages(replies, open_identifier(config.identify_by, "identify_by"))
    if config.judge is not None:
        replies = Judge(config.judge, output.parent / "judge_replies").judge(replies)
    found = {"scores": {"dialogue": dialogue_scores(replies, config.seed)}, "seed": config.seed}
    write_json_lines(replies, lines)
    save_configuration(config, output.with_name(f"{output.stem}_config.yaml"))
    write_atomically(output, (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
    return found


def read_replies(config: JudgeRepliesConfig) -> list[Record]:
    """The lines of the file, with our names for their fields; without an id a line goes by its number.

    Raises:
        UserError: no line, or one without an answer or its language; or two with one id.
    """
    replies = []
    for number, line in read_json_lines(config.replies):
        where = f"{config.replies}, line {number}"
        reply = _renamed(line, config.fields, where)
        given = {"question_language": config.question_language, "answer_language": config.answer_language}
        for name, language in given.items():
            if language is not None:
                reply.setdefault(name, language)
        replies.append(_checked({"id": f"line {number}", **reply}, where))
    if not replies:
        raise UserError(f"{config.replies} holds no reply: give a file with lines")
    check_ids(replies)
    return replies


def _renamed(line: Mapping[str, Any], fields: Mapping[str, str], where: str) -> Record:
    for name, theirs in fields.items():
        if theirs not in line:
            raise UserError(
                f"{where}: there is no field {theirs!r}, which fields.{name} names: it has {', '.join(line)}"
            )
    others = {name: value for name, value in line.items() if name not in fields.values()}
    return {**others, **{name: line[theirs] for name, theirs in fields.items()}}


def _checked(reply: Record, where: str) -> Record:
    half = half_of_a_character(reply)
    if half is not None:
        raise UserError(f"{where}: half of a Unicode character ({half}): mend the line")
    if not isinstance(reply.get("answer"), str):
        raise UserError(f"{where}: there is no text `answer`: say what the file calls it, --fields.answer NAME")
    if reply.get("answer_language") is None:
        raise UserError(f"{where}: nothing says which language the answer should be in: give --answer_language")
    try:
        tags = {name: language_tag(str(reply[name])) for name in _LANGUAGES if reply.get(name) is not None}
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if "fact" in reply:
        reply.setdefault("wrong_facts", [])
    direction = "-".join(tags.values())
    return {"direction": direction, **reply, **tags}


def main(arguments: list[str]) -> None:
    """Parse ``REPLIES.jsonl --config YAML --output judged.json``, judge, and print the results."""
    results = judge(parse_configuration(JudgeRepliesConfig, arguments, "judge", ("replies",)))
    print(json.dumps(results, ensure_ascii=False, indent=2))
