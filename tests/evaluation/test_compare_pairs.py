"""The verb ``compare-pairs``: differences by hand, seeds in their order, files that do not belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cslm.errors import UserError
from cslm.evaluation.compare_pairs import main
from cslm.files.json_lines import write_json_lines


def write_rows(path: Path, right: str, way: str = "whole", **more: Any) -> str:
    """A row for each letter: ``1`` right, ``0`` wrong, ``-`` a tie; two pairs a document."""
    rows = []
    for index, letter in enumerate(right):
        sides = {"right": {"nll": 2.0, "ids": 2}, "wrong": {"nll": {"1": 3.0, "0": 1.0, "-": 2.0}[letter], "ids": 2}}
        row = {"set": "v", "id": str(index), "kind": "topic", "direction": "en-fr", "document": f"s{index // 2}"}
        rows.append(row | {"whole": sides, way: sides} | more)
    write_json_lines(rows, path)
    return str(path)


def compare(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main(list(arguments))
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_difference_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_rows(tmp_path / "a.jsonl", "1111-100", "ending")
    second = write_rows(tmp_path / "b.jsonl", "00000010")
    output = tmp_path / "compared.json"
    found = compare(capsys, first, second, "--output", str(output))
    compared = found["v"]["topic"]["en-fr"]
    assert set(compared) == {"accuracy", "sum_accuracy", "n"} and compared["n"] == 8
    accuracy = compared["accuracy"]
    assert (accuracy["first"], accuracy["second"], accuracy["difference"]) == (0.6875, 0.125, 0.5625)
    assert accuracy["mcnemar_p"] == pytest.approx(2 * (1 + 7) / 2**7) and accuracy["signs_agree"] is True
    low, high = accuracy["difference_interval"]
    assert -0.5 <= low < 0.5625 < high <= 1
    assert json.loads(output.read_text()) == found


def test_seeds_are_compared_each_with_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = [write_rows(tmp_path / "a0.jsonl", "1100"), write_rows(tmp_path / "a1.jsonl", "0000")]
    second = [write_rows(tmp_path / "b0.jsonl", "0000"), write_rows(tmp_path / "b1.jsonl", "0011")]
    found = compare(capsys, *first, *second)
    accuracy = found["v"]["topic"]["en-fr"]["accuracy"]
    assert accuracy["by_seed"] == [0.5, -0.5] and accuracy["difference"] == 0.0 and accuracy["signs_agree"] is False
    found = compare(capsys, *first, *second[:1] * 2)
    assert found["v"]["topic"]["en-fr"]["accuracy"]["by_seed"] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda path: write_rows(path, "110"), r"differ in 1 pairs \(v, topic, en-fr, 3\)"),
        (lambda path: write_rows(path, "1100", kind="cloze"), "differ in 8 pairs"),
        (lambda path: write_rows(path, ""), "holds no pair"),
        (lambda path: str(write_json_lines([{"id": "0"}], path) and path), r"line 1: misses 'set'"),
        (lambda path: "no.jsonl", "no.jsonl"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, second: Any, message: str) -> None:
    first = write_rows(tmp_path / "a.jsonl", "1100")
    with pytest.raises(UserError, match=message):
        main([first, second(tmp_path / "b.jsonl")])


def test_as_many_files_are_wanted_of_both(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", "1100")
    with pytest.raises(UserError, match="as many files of the second checkpoint as of the first, not "):
        main([first, first, first])
