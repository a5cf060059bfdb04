"""How long a run's stages took."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cslm.errors import UserError
from cslm.publishing.stage_seconds import read_stage_seconds


def test_stages_stand_in_the_order_in_which_they_finished(tmp_path: Path) -> None:
    for when, (stage, seconds) in enumerate({"pretrain": 60, "install": 10.5}.items()):
        (tmp_path / f"{stage}.json").write_text(f'{{"seconds": {seconds}}}')
        os.utime(tmp_path / f"{stage}.json", (when, when))
    assert list(read_stage_seconds(tmp_path).items()) == [("pretrain", 60.0), ("install", 10.5), ("total", 70.5)]


def test_a_file_without_seconds_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(UserError, match=r"train\.json holds no number of seconds"):
        read_stage_seconds(tmp_path)
