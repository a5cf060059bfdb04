"""The pages say what works: each of their commands runs, tiny, or is named in ``not_run.py`` with the reason.

A page that has tests for itself (``pages.own_test``) runs there.
"""

from __future__ import annotations

import fnmatch
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

from cslm.configuration import load_configuration
from cslm.corpora.hugging_face_text import HuggingFaceTextConfig
from cslm.corpora.text_documents import TEXT_FIELDS
from tests.docs.not_run import NOT_RUN
from tests.docs.pages import PAGES, ROOT, commands, own_test, text_of
from tests.docs.walking import walk, why_not

COMMANDS = [command for page in PAGES for command in commands(page)]
RUN = [command for command in COMMANDS if not why_not(command) and not own_test(command.page)]
WALKED = [page for page in dict.fromkeys(command.page for command in RUN) if page != "docs/own_corpus.md"]
NEED_MINE = [f"docs/{name}.md" for name in ("before_and_during_a_run", "many_machines", "training_a_part")]
NEED_MINE += ["recipes/paper/README.md"]
IN_PAIRS = {page: ["docs/corpora.md"] for page in ("docs/tokenizing.md", "docs/speech_tokenizers.md")}
"""Pages that go on where another ended."""


def test_reasons_are_of_commands_that_there_are():
    unused = [pattern for pattern in NOT_RUN if not any(fnmatch.fnmatchcase(it.line, pattern) for it in COMMANDS)]
    assert unused == []
    named = [name for reason in NOT_RUN.values() for name in re.findall(r"tests/[\w/.]+", reason)]
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page} {command.line[:60]}")
def test_every_command_names_files_that_exist(command):
    words = command.words
    scripts = [word for word in words if word.startswith(("recipes/", "tools/")) and Path(word).suffix]
    assert [word for word in scripts if not (ROOT / word).is_file()] == []


def test_an_own_corpus_becomes_a_spoken_reply(mine):
    """From a folder of audio with a table to units, a pre-trained and a fine-tuned model with a decoder, and a reply.

    The README's own path once ended with "no speech decoder": the quickstart alone copied it into the checkpoint.
    """
    for result in ("pretrain", "finetune", "decoder"):
        assert (mine / result / "model.safetensors").is_file()
    assert (mine / "finetune/speech/decoder/model.safetensors").is_file()
    assert sf.info(mine.parents[1] / "ANSWER.wav").frames > 0
    assert json.loads((mine.parents[1] / "REPLY.json").read_text("utf-8"))["num_chunks"] > 0


@pytest.mark.parametrize("page", WALKED)
def test_the_commands_of_a_page_run(page, typing, request):
    if page in NEED_MINE:
        request.getfixturevalue("mine")
    for earlier in IN_PAIRS.get(page, []):
        walk(earlier)
    assert walk(page) == sum(command.page == page for command in RUN)
    CHECKS.get(page, lambda here: None)(typing)


def check_hub(here: Path) -> None:
    lines = (here / "runs/mine/french/documents-00000.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[4]) == {"language": "fr", "text": "phrase 4"}
    assert "license: apache-2.0" in (here / "runs/village/finetune/README.md").read_text("utf-8")


def check_store(here: Path) -> None:
    assert json.loads((here / "STORE/header.json").read_text("utf-8"))["num_utterances"] == 12
    assert (here / "STORE/rejected.jsonl").read_text() == ""
    assert len((here / "UNITS.jsonl").read_text("utf-8").splitlines()) == 12


def check_scores(here: Path) -> None:
    results = json.loads((here / "runs/village/results.json").read_text("utf-8"))
    assert {*results["scores"]} == {"asr", "tts", "dialogue"}
    assert (here / "runs/village/report.html").is_file()


CHECKS = {"docs/hub.md": check_hub, "docs/tokenizing.md": check_store, "docs/scores.md": check_scores}
"""What the commands of a page leave."""


@pytest.mark.parametrize("script", ["tools/quickstart.sh", "tools/test.sh"])
def test_options_of_the_shell_scripts(script):
    done = subprocess.run(["bash", ROOT / script, "--help"], capture_output=True, text=True, check=True)
    there = {*re.findall(r"--\w+", done.stdout)}
    assert "--index_url" in there
    if script.endswith("quickstart.sh"):
        assert {*re.findall(r"^\| `(--\w+)", text_of("docs/first_run.md"), re.MULTILINE)} == there


BENCHMARKS = [command for command in COMMANDS if "bench_" in command.line]


@pytest.mark.parametrize("command", BENCHMARKS, ids=lambda command: command.line[:70])
def test_every_benchmark_is_there_with_its_options(command, monkeypatch, capsys):
    words = command.words
    place = next(index for index, word in enumerate(words) if "bench_" in word)
    monkeypatch.setattr(sys, "argv", [*words[place:], "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / words[place]), run_name="__main__")
    told = capsys.readouterr().out
    assert left.value.code == 0
    for option in (word for word in words[place:] if word.startswith("--") and "." not in word):
        assert option in told, option


@pytest.mark.parametrize("task", TEXT_FIELDS)
def test_the_options_of_every_task(task, tmp_path):
    (row,) = re.findall(rf"^\| `{task}` \| (.*?) \| `(--.*?)` \|$", text_of("docs/hub.md"), re.MULTILINE)
    assert [name for name in re.findall(r"`(\w+)`", row[0]) if name in TEXT_FIELDS[task]] == list(TEXT_FIELDS[task])
    (tmp_path / "empty.yaml").write_text("dataset: set\n")
    options = [f"--task={task}", *shlex.split(row[1])]
    config = load_configuration(HuggingFaceTextConfig, tmp_path / "empty.yaml", *options)
    assert {*config.columns, *config.values} <= {*TEXT_FIELDS[task]} <= {*config.columns, *config.values, "text"}


def test_every_file_of_settings_is_listed_with_its_stage():
    page = text_of("docs/packing_and_memory.md")
    for path in (ROOT / "recipes" / "deepspeed").glob("*.json"):
        assert f"| `{path.name}` | {path.stem[4]} |" in page
