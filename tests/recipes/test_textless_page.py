"""The page of textless models says what works: its YAML trains, its commands and its Python run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import soundfile as sf
import yaml

from cslm import cli
from cslm.audio.waveform import save_waveform
from cslm.configuration import load_configuration
from cslm.sequences.tasks import TASKS
from cslm.training.pretrain import PretrainConfig
from tests.recipes.conftest import ROOT, TWO_STEPS
from tests.worlds.mimi_models import RATE_HZ
from tests.worlds.small_corpus import glide
from tests.worlds.textless_world import make_textless_world, save_text_model

PAGE = (ROOT / "docs" / "textless.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of units, a small base, the YAML of the page, and a recording."""
    root = make_textless_world(tmp_path_factory.mktemp("place"))
    (root / "corpus").mkdir()
    (root / "units").rename(root / "corpus" / "units")
    save_text_model(root / "base", "qwen2", max_position_embeddings=2048)
    (text,) = blocks("yaml")
    (root / "textless.yaml").write_text(text)
    save_waveform(root / "IN.wav", glide(3, 1.0, RATE_HZ), RATE_HZ)
    return root


def test_the_yaml_of_the_page_is_a_configuration(place: Path) -> None:
    config = load_configuration(PretrainConfig, place / "textless.yaml")
    assert config.model.textless and config.training.max_length <= config.training.tokens_per_micro_batch


def test_the_commands_of_the_page_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    lines = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    assert [words[1] for words in lines] == ["tokenize-corpus", "pretrain", "continue-speech"]
    small = ["--model.base", "base", "--tokenizer_card", "tokenizer/card.yaml"]
    more = {"pretrain": [*small, *TWO_STEPS], "continue-speech": ["--decoding.temperature", "1.5"]}
    for words in lines[1:]:
        cli.dispatch([*words[1:], *more[words[1]]])
    assert sf.info("OUT.wav").frames > 0
    for block in blocks("python"):
        exec(compile(block, "docs/textless.md", "exec"), {})


def test_every_task_of_a_source_that_the_page_has_is_one_without_text() -> None:
    named = {source["task"] for text in blocks("yaml") for source in yaml.safe_load(text)["sources"].values()}
    assert all(TASKS[task].textless for task in named)
    refused = re.search(r"a task with text \((.*?), \.\.\.\)", PAGE)
    assert refused and not any(TASKS[task.strip("`")].textless for task in refused[1].split(", "))
