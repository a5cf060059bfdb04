"""Pairs of an instruction and its answer, as text, from Alpaca's layout or from messages: files, folders, the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.hugging_face import hub_faults, open_data_set
from cslm.corpora.hugging_face_text import commit_of, hash_of_files
from cslm.corpora.messages import plain_messages, said_messages
from cslm.corpora.text_documents import half_of_a_character, sha256_of
from cslm.errors import UserError, first_line
from cslm.files.json_lines import read_json_lines

_SUFFIXES = (".json", ".jsonl", ".parquet")
_NO_INPUT = ("", "<noinput>", "noinput", "n/a", "none")
"""How data sets of this layout say that there is no input."""


@dataclass(frozen=True)
class InstructionPair:
    """One exchange."""

    id: str
    """The number of its row, from 0 on."""
    question: str
    answer: str
    input: str = ""
    """What the instruction is about, where that stands apart from it."""


@dataclass(frozen=True)
class NoPair:
    """A row that holds no pair."""

    id: str
    reason: str
    """Why, in a few words."""


@dataclass
class InstructionPairsConfig:
    """Where the pairs are."""

    dataset: str
    """A file (.json, .jsonl, .parquet), a folder of such files or of `save_to_disk`, or a data set of the Hub by id."""
    split: str = "train"
    """split of a folder or of a data set of the Hub; a file has one, train"""
    subset: str | None = None
    """configuration of a data set that has several"""
    revision: str | None = None
    """branch, tag or commit on the Hub"""
    instruction_column: str = "instruction"
    """column of the instruction"""
    input_column: str = "input"
    """column of what the instruction is about; it may be missing"""
    output_column: str = "output"
    """column of the answer"""


def read_instruction_pairs(config: InstructionPairsConfig) -> Iterator[InstructionPair | NoPair]:
    """Yield each row's pair, or why it has none; rows with ``messages`` or ``conversations`` need no columns.

    Raises:
        UserError: no such file or data set, or rows that have neither an instruction and an answer, nor messages.
    """
    for number, row in enumerate(_rows(config)):
        name = f"{number:06d}"
        half = half_of_a_character(row)
        if not isinstance(row, dict):
            yield NoPair(name, f"is a {type(row).__name__}, not an object")
        elif half is not None:
            yield NoPair(name, f"holds half of a Unicode character ({half})")
        elif config.instruction_column in row and config.output_column in row:
            yield _pair_of_columns(row, name, config)
        elif "messages" in row or "conversations" in row:
            yield _pair_of_messages(row, name)
        else:
            raise UserError(
                f"{config.dataset}, row {number}: has {', '.join(map(str, row))}, but neither "
                f"{config.instruction_column} and {config.output_column} nor messages: name the columns in "
                "instruction_column and output_column"
            )


def origin_of_pairs(config: InstructionPairsConfig) -> dict[str, Any]:
    """What the pairs come from: a file or folder by name and content, a data set of the Hub by its commit; no path.

    Raises:
        UserError: there is no such file, folder or data set.
    """
    path = Path(config.dataset)
    name = path.resolve().name if path.exists() else config.dataset
    origin = {"dataset": name, "subset": config.subset, "split": config.split}
    if path.is_file():
        return {**origin, "content": f"sha256:{sha256_of(path)}"}
    if path.is_dir():
        return {**origin, "content": hash_of_files(path)}
    if path.suffix.lower() in _SUFFIXES:
        raise UserError(f"{path}: no such file; --pairs.dataset names one, a folder, or a data set of the Hub")
    return {**origin, "revision": commit_of(config.dataset, config.revision)}


def _rows(config: InstructionPairsConfig) -> Iterator[Any]:
    path = Path(config.dataset)
    if not path.is_file():
        yield from open_data_set(config.dataset, config.subset, config.split, config.revision)
        return
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path}: is read as .json, .jsonl or .parquet: rename it, or convert it to one of these")
    if path.suffix.lower() != ".parquet":
        yield from _json_rows(path)
        return
    import datasets  # here: it takes a while

    try:
        yield from datasets.load_dataset("parquet", data_files=str(path.resolve()), split="train", streaming=True)
    except (ValueError, datasets.exceptions.DatasetGenerationError, *hub_faults()) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); a table of pairs is wanted") from None


def _json_rows(path: Path) -> Iterator[Any]:
    """The objects of a list, or of lines. ``datasets`` would put quotes around all texts where one of them is none."""
    with path.open("rb") as file:
        first = next((line.strip() for line in file if line.strip()), b"")
    if not first:
        raise UserError(f"{path}: is empty; a list of objects is wanted")
    if not first.startswith(b"["):
        yield from (row for _, row in read_json_lines(path))
        return
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({error}); a list of objects is wanted") from None
    yield from rows


def _pair_of_columns(row: dict[str, Any], name: str, config: InstructionPairsConfig) -> InstructionPair | NoPair:
    values = {}
    for column in (config.instruction_column, config.input_column, config.output_column):
        value = row.get(column)
        if value is not None and not isinstance(value, str):
            return NoPair(name, f"its {column} is a {type(value).__name__}, not text")
        values[column] = (value or "").strip()
    about = values[config.input_column]
    return InstructionPair(
        name,
        values[config.instruction_column],
        values[config.output_column],
        "" if about.lower() in _NO_INPUT else about,
    )


def _pair_of_messages(row: dict[str, Any], name: str) -> InstructionPair | NoPair:
    messages = plain_messages(said_messages(row))
    if isinstance(messages, str):
        return NoPair(name, messages)
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"]:
        return NoPair(name, f"messages of {', '.join(roles)}: one of the user and one of the assistant are a pair")
    return InstructionPair(name, messages[0]["content"].strip(), messages[1]["content"].strip())
