"""HTML tables of scores: how a rate, a number and a table are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

Scores = Mapping[str, Any]
Format = Callable[[Scores, str], str]
Column = tuple[str, str, Format]
"""Heading, key of the value, and how it is written."""


class Table(NamedTuple):
    """A table and what stands above it."""

    heading: str
    html: str


def percent(scores: Scores, name: str) -> str:
    """A rate in percent, with its interval small beside it; a dash where there is none."""
    value = scores.get(name)
    if value is None:
        return "–"
    low_high = scores.get(f"{name}_interval")
    small = f" <small>{100 * low_high[0]:.1f}–{100 * low_high[1]:.1f}</small>" if low_high else ""
    return f"{100 * value:.1f} %{small}"


def decibels(scores: Scores, name: str) -> str:
    """A number of decibels."""
    value = scores.get(name)
    return "–" if value is None else f"{value:.2f} dB"


def count(scores: Scores, name: str) -> str:
    """A number of items."""
    value = scores.get(name)
    return "–" if value is None else f"{value:,}"


def with_key(values: Scores, old: str, new: str) -> dict[str, Any]:
    """The value under ``old`` and its interval, if they are there, under ``new``."""
    return {f"{new}{end}": values[f"{old}{end}"] for end in ("", "_interval") if f"{old}{end}" in values}


def rate_key(values: Scores) -> str:
    """Which error rate the values hold: ``wer`` or ``cer``."""
    return "cer" if "cer" in values else "wer"


def html_table(rows: Mapping[str, Scores], columns: Sequence[Column]) -> str:
    """A table; a column that no row has anything for is left out."""
    kept = [column for column in columns if any(row.get(column[1]) is not None for row in rows.values())]
    head = "".join(f"<th>{escape(title)}</th>" for title, _, _ in kept)
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{show(row, key)}</td>' for _, key, show in kept)}</tr>"
        for name, row in rows.items()
    )
    return f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
