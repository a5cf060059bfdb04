"""Messages name the path that was looked for, where something is there nothing is said."""

from __future__ import annotations

from cslm.files.looked_for import looked_for


def test_a_mistyped_path_was_told_of_as_a_model_of_the_hub_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert looked_for("D/nollm") == f": looked for {tmp_path}/D/nollm"
    assert looked_for("there") == ""
