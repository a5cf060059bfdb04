"""Marks that are seen and not heard, of lists, headings and emphasis: taken out, or made a pause."""

from __future__ import annotations

import re
import unicodedata

LIST_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*•‣·+]|\(?\d{1,2}[.):]|\(?[a-zA-Z]\))[ \t]+(?=\S)")
"""How a line of a list begins."""

_HEADING = re.compile(r"(?m)^[ \t]*#{1,6}[ \t]+")
_QUOTED = re.compile(r"(?m)^[ \t]*>[ \t]?")
_EMPHASIS = re.compile(r"(?<![\w*`])(\*{1,3}|_{1,2}|`)(?=\S)(.+?)(?<=\S)\1(?![\w*`])")
_ENDS = tuple(".!?:;,…。！？：；、")


def spoken_text(text: str) -> str:
    """The text on one line: list items and lines become sentences, marks of emphasis go.

    Numbers stay digits: a voice reads them in its language.
    """
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n")
    for mark in (_HEADING, _QUOTED, LIST_ITEM):
        text = mark.sub("", text)
    text = _EMPHASIS.sub(r"\2", text)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lines = [line for line in lines if line]
    ended = [line if line.endswith(_ENDS) else f"{line}." for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])
