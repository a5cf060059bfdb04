"""The texts that a text tokenizer is fitted on: fields of JSON Lines, lines of other files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cslm.corpora.messages import said_messages
from cslm.corpora.text_documents import half_of_a_character
from cslm.errors import UserError
from cslm.files.gzip_files import unpacked_gzip
from cslm.files.json_lines import read_json_lines

_FIELDS = ("text", "question_text", "core_question", "core_answer", "answer_text", "source", "target")


def fitted_texts(files: Sequence[Path]) -> Iterator[str]:
    """The texts of ``*.jsonl`` and ``*.jsonl.gz`` (fields such as text, question_text, messages) and lines of others.

    Raises:
        UserError: a line that is not a JSON object, no UTF-8, or holds half of a Unicode character.
    """
    for file in files:
        plain = unpacked_gzip(file) if file.suffix == ".gz" else file
        if file.name.removesuffix(".gz").endswith(".jsonl"):
            for number, row in read_json_lines(plain):
                half = half_of_a_character(row)
                if half is not None:
                    raise UserError(f"{file}, line {number}: half of a Unicode character ({half}); mend the line")
                yield from _texts_of(row)
        else:
            yield from _lines(plain, file)


def _texts_of(row: dict[str, Any]) -> Iterator[str]:
    yield from (row[key] for key in _FIELDS if isinstance(row.get(key), str))
    messages = said_messages(row)
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            content = message.get("content", message.get("value"))
            if isinstance(content, str):
                yield content


def _lines(plain: Path, file: Path) -> Iterator[str]:
    with plain.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{file}, line {number}: not UTF-8 ({error.reason}); mend the line") from None
