"""The rows of a table of texts, as people write them: with quotes that quote, or with quotes that are said."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from cslm.errors import UserError

QUOTINGS = ("auto", "csv", "none")
BLANK = "blank"
"""As a delimiter: whatever blanks stand between columns; the last column takes the rest of the line."""

_ESCAPED = re.compile(r'"(?:[^"]|"")*"')
_MOST_BYTES_OF_A_CELL = 1 << 20
_HEAD_BYTES = 1 << 16


def open_text(path: Path) -> TextIO:
    """A text file, gzipped (``.gz``) or not, with a byte order mark or without.

    A carriage return within a line is a character of it, except in the files of old Macs, where it ends all of them.
    """
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="\n")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    is_old = b"\r" in head and b"\n" not in head
    return path.open(encoding="utf-8-sig", newline="\r" if is_old else "\n")


def read_rows(path: Path, delimiter: str, quoting: str, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, cells) of the rows; empty lines are skipped.

    Args:
        path: the table, UTF-8.
        delimiter: what separates columns: one character, or ``blank``.
        quoting: ``csv``: quotes around a cell are no part of it, and it may go over lines; ``none``: quotes are
            characters; ``auto``: as csv between commas or semicolons, but a cell stays in its line; elsewhere as none,
            but for cells with quotes around and quotes doubled inside.
        columns: of a table without a header; empty where the first line names them.

    Raises:
        UserError: it is not UTF-8, or a quote is opened and not closed; with the line.
    """
    quotes = quoting == "csv" or (quoting == "auto" and delimiter in ",;")
    try:
        with open_text(path) as file:
            if delimiter == BLANK:
                yield from _blank_rows(file, len(columns) or None)
            elif quotes:
                yield from _quoted_rows(file, path, delimiter, may_break=quoting == "csv")
            else:
                yield from _plain_rows(file, delimiter, unescape=quoting == "auto")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _blank_rows(file: TextIO, num_columns: int | None) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            cells = line.split(None, (num_columns or len(line.split())) - 1)
            num_columns = num_columns or len(cells)
            yield number, [cell.strip() for cell in cells]


def _plain_rows(file: TextIO, delimiter: str, unescape: bool) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(file, start=1):
        line = line.rstrip("\r\n")
        if line.strip():
            cells = line.split(delimiter)
            yield number, [_unescaped(cell) for cell in cells] if unescape else cells


def _unescaped(cell: str) -> str:
    """What a program wrote that quotes cells with quotes in them; other cells as they are."""
    return cell[1:-1].replace('""', '"') if '""' in cell[1:-1] and _ESCAPED.fullmatch(cell) else cell


def _quoted_rows(file: TextIO, path: Path, delimiter: str, may_break: bool) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(_MOST_BYTES_OF_A_CELL)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    first = 1
    try:
        for cells in reader:
            if cells and reader.line_num > first and not may_break:
                raise csv.Error(f"a quote is still open at the end of the line, and closed in line {reader.line_num}")
            if cells:
                yield reader.line_num, cells
            first = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {first}: {error}; close or double the quote, or give --quoting none where quotes are "
            "characters, --quoting csv where texts have line breaks"
        ) from None
    finally:
        csv.field_size_limit(before)
