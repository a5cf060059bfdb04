from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from cslm.codecs.card import find_card
from cslm.files import shipped_files
from cslm.files.shipped_files import find_shipped, shipped_folders


def test_shipped_files_lie_in_the_checkout_or_under_a_prefix(root):
    folders = shipped_folders("tokenizers")
    assert folders[0] == root / "tokenizers"
    assert folders[1] == Path(sysconfig.get_path("data")) / "share" / "cslm" / "tokenizers"
    assert Path(sysconfig.get_path("data", f"{os.name}_user")) / "share" / "cslm" / "tokenizers" in folders


def test_a_file_that_comes_with_the_package_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_shipped("tokenizers/README.md") is not None
    assert find_shipped("tokenizers/nothing.yaml") is None


def test_cards_are_found_by_name_after_pip_install_user(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Two searches for shipped files disagreed: recipes were found in the user's folder, cards were not."""
    cards = tmp_path / "user" / "share" / "cslm" / "tokenizers"
    cards.mkdir(parents=True)
    (cards / "mine.yaml").write_text("name: mine")
    monkeypatch.setattr(shipped_files, "_CHECKOUT", ())
    monkeypatch.setattr(
        shipped_files.sysconfig, "get_path",
        lambda name, *scheme: str(tmp_path / "user") if scheme else str(tmp_path / "environment"),
    )  # fmt: skip
    assert find_card("mine") == cards / "mine.yaml"
