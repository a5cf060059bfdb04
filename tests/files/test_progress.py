"""Progress: every item comes through, and something is said."""

from __future__ import annotations

import sys

from cslm.files import progress


def test_all_items_come_through_and_lines_are_printed(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(progress.progress_bar(iter("abc"), 3, "reading")) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("reading: 1/3") and "left" in lines[0]
    assert lines[-1].startswith("reading: 3 done")


def test_few_lines_when_it_is_quick(capsys):
    list(progress.progress_bar(range(1000), None, "counting"))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress.progress_bar([1, 2], 2, "counting")) == [1, 2]
    assert "counting" in capsys.readouterr().err
