"""Runs of train-prompt before they start: their documents are shown, and rates are tried, as of any other run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cslm.planning import inspect_sequences, lr_find
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS, prompt_config, write_heard_world
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_world import write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = write_heard_world(tmp_path_factory.mktemp("world"))
    write_whisper(root / "whisper")
    make_llm(root / "llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    write_config(root / "prompt.yaml", prompt_config(root, root / "llm", root / "whisper"))
    return root


def test_the_documents_of_a_run_that_hears_are_shown(world, capsys):
    inspect_sequences.main(["--config", str(world / "prompt.yaml"), "--source", "asr", "--count", "1"])
    printed = capsys.readouterr().out
    print(printed)
    (audio,) = (line.split() for line in printed.splitlines() if "  audio  " in line and line[:1] in " *")
    assert audio[:2] != ["*"] and int(audio[4]) > 1
    assert "source asr  task audio_asr" in printed and not (world / "prompt").exists()


def test_rates_are_tried_on_a_connector(world, capsys):
    told = ["--num_steps", "12", "--lr_max", "0.1", "--json", str(world / "rates.json")]
    lr_find.main(["--config", str(world / "prompt.yaml"), *told])
    found = json.loads((world / "rates.json").read_text(encoding="utf-8"))
    assert len(found["rates"]) == 12 and found["losses"][-1] < found["losses"][0]
    assert "step 12/12" in capsys.readouterr().out and not (world / "prompt").exists()
