"""Spoken questions with written answers from JSON Lines, as AudioBench and its kin are exported (arXiv 2406.16020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.corpora.intake import REJECTED
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, audio_from, write_manifest
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines, write_json_lines

FIELDS = ("id", "audio", "question_text", "instruction", "answer_text", "answers", "language", "answer_language")
_OPTIONAL = ("id", "instruction", "answers", "answer_text", "language", "answer_language", "question_text")


@dataclass
class SpokenQuestionsConfig:
    """Which file, and what it calls its fields."""

    file: str
    """JSON Lines, a spoken question a line; paths of audio start from its folder."""
    fields: dict[str, str] = field(default_factory=dict)
    """What the file calls a field: {audio: context, answer_text: reference}; a dot goes into a field (context.path)."""
    language: str | None = None
    """Of the questions, where the lines do not say it."""
    answer_language: str | None = None
    """Of the answers, where it is another and the lines do not say it."""
    max_questions: int | None = None
    """Take no more than so many."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a field that there is not.
        """
        for name in self.fields:
            if name not in FIELDS:
                raise UserError(f"fields: there is no field {name!r}; the fields are {', '.join(FIELDS)}")


def prepare_spoken_questions(output: Path, config: SpokenQuestionsConfig) -> None:
    """Write ``manifest.jsonl`` and ``dialogues.jsonl``; the audio stays where it is.

    Lines that lack something are listed in ``rejected.jsonl``.

    Raises:
        UserError: no such file, or not one line that can be used.
    """
    utterances, dialogues, rejected = list[Utterance](), list[dict[str, Any]](), list[dict[str, str]]()
    for number, line in read_json_lines(config.file):
        if len(dialogues) == config.max_questions:
            print(f"{len(dialogues)} questions are taken: lines from {number} on are not read (max_questions)")
            break
        found = _records(line, config, f"line {number}", output)
        if isinstance(found, str):
            rejected.append({"id": f"line {number}", "reason": found})
            continue
        utterances.append(found[0])
        dialogues.append(found[1])
    if not dialogues:
        raise UserError(
            f"{config.file}: not one line can be used; the first: {rejected[0]['reason'] if rejected else 'none'}"
        )
    write_manifest(utterances, output / "manifest.jsonl")
    write_json_lines(dialogues, output / "dialogues.jsonl")
    write_json_lines(rejected, output / REJECTED)
    print(f"{len(dialogues)} questions, {len(rejected)} lines left out")


def _records(
    line: dict[str, Any], config: SpokenQuestionsConfig, name: str, output: Path
) -> tuple[Utterance, dict[str, Any]] | str:
    values = {field: _inside(line, config.fields.get(field, field)) for field in FIELDS}
    audio, answers = values["audio"], values["answers"]
    if isinstance(answers, str):
        answers = [answers]
    answer = values["answer_text"] if values["answer_text"] is not None else (answers or [None])[0]
    language = values["language"] or config.language
    for what, value in (("audio", audio), ("answer_text", answer), ("language", language)):
        if not isinstance(value, str) or not value.strip():
            return f"it has no {what}"
    try:
        spoken, written = (
            language_tag(str(language)),
            str(values["answer_language"] or config.answer_language or language),
        )
        written = language_tag(written)
    except UserError as error:
        return str(error)
    place = str(audio)
    if "://" not in place and not Path(place).is_absolute():
        place = str(Path(config.file).parent / place)
    said, own = str(values["question_text"] or ""), str(values["id"] or name)
    utterance = Utterance(own, audio_from(output, place), said, spoken)
    dialogue = {
        "id": own, "direction": spoken if spoken == written else f"{spoken}-{written}", "question": own,
        "question_language": spoken, "question_text": said, "question_reference": said, "answer_language": written,
        "answer_text": answer, "answers": list(answers or [answer]),
    }  # fmt: skip
    return utterance, dialogue | ({"instruction": values["instruction"]} if values["instruction"] else {})


def _inside(line: dict[str, Any], name: str) -> Any:
    value: Any = line
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
