"""A stage runs once, says where it stopped, and its folder is never used for two set-ups."""

from __future__ import annotations

from hashlib import sha256

import pytest

from cslm.benchmarks.claims.stages import Stages
from cslm.errors import UserError


def test_a_finished_stage_is_not_run_again(tmp_path, capfd):
    stages = Stages(tmp_path / "xli" / "seed100")
    stages.folder.mkdir(parents=True)
    for _ in range(2):
        stages.run("version", "--version", [])
    assert capfd.readouterr().out.splitlines() == ["xli, seed100: version"]
    assert (stages.folder / "stages" / "version.log").read_text().startswith("cslm ")
    assert list(stages.seconds()) == ["version"]


def test_a_stage_that_stops_is_named_with_its_log_and_has_no_mark(tmp_path):
    stages = Stages(tmp_path)
    with pytest.raises(UserError, match=r"card stopped with status 2: see .*stages/card\.log"):
        stages.run("card", "fit-tokenizer", ["--nothing", "1"])
    assert "error" in (tmp_path / "stages" / "card.log").read_text()
    assert not stages.seconds()


def test_a_folder_of_another_set_up_is_refused(tmp_path):
    settings = tmp_path / "arm.yaml"
    settings.write_text("weight: 1\n")
    stages = Stages(tmp_path)
    stages.run("version", "--version", [], [settings])
    assert stages.settings == {"arm.yaml": sha256(b"weight: 1\n").hexdigest()[:16]}
    settings.write_text("weight: 2\n")
    with pytest.raises(UserError, match="version was done with other settings"):
        stages.run("version", "--version", [], [settings])
    with pytest.raises(UserError, match="done with other verb"):
        stages.run("version", "--help", [])


def test_a_checkout_that_had_moved_was_taken_for_another_set_up(tmp_path, monkeypatch):
    stages = Stages(tmp_path)
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        settings = tmp_path / place / "arm.yaml"
        settings.write_text("weight: 1\n")
        monkeypatch.setattr("cslm.benchmarks.claims.stages.sys.executable", "true")
        stages.run("arm", "pretrain", ["--config", str(settings)], [settings])
    assert list(stages.seconds()) == ["arm"]
