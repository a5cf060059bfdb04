"""The page of the recipes: its commands of ``cslm`` name verbs, files and settings that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cslm.configuration import parse_configuration
from cslm.training.inspect_sequences import InspectSequencesConfig
from cslm.training.lr_find import LrFindConfig
from tests.training.processes import ROOT

PAGE = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
CONFIGURATIONS = {"inspect": InspectSequencesConfig, "lr-find": LrFindConfig}
COMMANDS = [
    words
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    for words in map(shlex.split, block.splitlines())
    if words[:1] == ["cslm"] and words[1] in CONFIGURATIONS
]


def test_both_verbs_are_shown():
    assert {words[1] for words in COMMANDS} == set(CONFIGURATIONS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_parses(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = parse_configuration(CONFIGURATIONS[words[1]], words[2:], words[1])
    assert config.data_root == "runs/mine" and config.sources


def test_every_file_of_settings_is_listed_with_its_stage():
    for path in (ROOT / "recipes" / "deepspeed").glob("*.json"):
        assert f"| `{path.name}` | {Path(path).stem[4]} |" in PAGE
