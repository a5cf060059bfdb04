"""The page of the recipes says what works: its commands for the Hub run, on a local data set and a tiny checkpoint."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import datasets
import pytest

from cslm import cli
from cslm.configuration import load_configuration, parse_configuration
from cslm.corpora.hugging_face_text import HuggingFaceTextConfig
from cslm.corpora.text_documents import TEXT_FIELDS
from cslm.planning.inspect_sequences import InspectSequencesConfig
from cslm.planning.lr_find import LrFindConfig
from tests.recipes.conftest import ROOT
from tests.worlds.tiny_checkpoint import make_checkpoint

README = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")


def commands(*first: str) -> list[list[str]]:
    """The commands of the page that begin with these words, as the shell would split them."""
    text = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    split = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for words in split if words[: len(first)] == list(first)]


def test_a_data_set_becomes_documents(tmp_path, monkeypatch):
    (words,) = commands("python", "tools/prepare_corpus.py")
    (tmp_path / "set").mkdir()
    rows = [{"id": str(number), "title": "Un", "text": f"phrase {number}"} for number in range(5)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "set" / "train.parquet")
    monkeypatch.chdir(tmp_path)
    there = {"wikimedia/wikipedia": "set", "20231101.fr": "default"}
    cli.dispatch(["prepare-corpus", *(there.get(word, word) for word in words[2:])])
    lines = Path("runs/mine/french/documents-00000.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[4]) == {"language": "fr", "text": "phrase 4"}


@pytest.mark.parametrize("task", TEXT_FIELDS)
def test_the_options_of_every_task(task, tmp_path):
    (row,) = re.findall(rf"^\| `{task}` \| (.*?) \| `(--.*?)` \|$", README, re.MULTILINE)
    assert [name for name in re.findall(r"`(\w+)`", row[0]) if name in TEXT_FIELDS[task]] == list(TEXT_FIELDS[task])
    (tmp_path / "empty.yaml").write_text("dataset: set\n")
    options = [f"--task={task}", *shlex.split(row[1])]
    config = load_configuration(HuggingFaceTextConfig, tmp_path / "empty.yaml", *options)
    assert {*config.columns, *config.values} <= {*TEXT_FIELDS[task]} <= {*config.columns, *config.values, "text"}


def test_a_checkpoint_would_go_to_the_hub(tmp_path, monkeypatch, capsys):
    dry, real = commands("python", "recipes/push_to_hub.py")
    make_checkpoint(tmp_path / "runs" / "village" / "finetune")
    monkeypatch.chdir(tmp_path)
    cli.dispatch(["push-to-hub", *dry[2:]])
    assert "to NAME/MODEL" in capsys.readouterr().out and Path("runs/village/finetune/README.md").is_file()
    cli.dispatch(["push-to-hub", *real[2:], "--dry_run", "true"])
    assert "license: apache-2.0" in Path("runs/village/finetune/README.md").read_text("utf-8")


def test_the_command_for_forgetting_is_that_of_its_page():
    page = (ROOT / "recipes" / "forgetting" / "README.md").read_text(encoding="utf-8")
    (command,) = [block for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) if "lm_eval" in block]
    assert command in page


CONFIGURATIONS = {"inspect": InspectSequencesConfig, "lr-find": LrFindConfig}
COMMANDS = [words for verb in CONFIGURATIONS for words in commands("cslm", verb)]


def test_both_verbs_are_shown():
    assert {words[1] for words in COMMANDS} == set(CONFIGURATIONS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_parses(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = parse_configuration(CONFIGURATIONS[words[1]], words[2:], words[1])
    assert config.data_root == "runs/mine" and config.sources


BENCHMARKS = [words for first in ("python", "deepspeed") for words in commands(first) if "bench_" in " ".join(words)]


@pytest.mark.parametrize("words", BENCHMARKS, ids=" ".join)
def test_every_benchmark_is_there_with_its_options(words, monkeypatch, capsys):
    place = next(index for index, word in enumerate(words) if "bench_" in word)
    monkeypatch.setattr(sys, "argv", [*words[place:], "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / words[place]), run_name="__main__")
    told = capsys.readouterr().out
    assert left.value.code == 0
    for option in (word for word in words[place:] if word.startswith("--") and "." not in word):
        assert option in told, option


def test_every_file_of_settings_is_listed_with_its_stage():
    for path in (ROOT / "recipes" / "deepspeed").glob("*.json"):
        assert f"| `{path.name}` | {Path(path).stem[4]} |" in README


def test_tests_that_the_faults_page_names_are_there():
    page = (ROOT / "recipes" / "paper" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 36))
    named = set(re.findall(r"`(test_\w+)`", "\n".join(rows)))
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert {name for name in named if f"def {name}(" not in code} == set()
    assert len(named) > 30
