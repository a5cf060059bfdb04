"""The console command and the scripts: the same verbs, the same functions, the exit status by blame."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cslm
from cslm import cli
from cslm.errors import MissingExtraError, UserError, exit_with_status

ROOT = Path(__file__).resolve().parents[1]
# A script inspect.py would hide Python's own module of that name from every script beside it.
SCRIPTS = {verb: verb.replace("-", "_") for verb in cli.VERBS} | {"inspect": "inspect_sequences"}


def leave(arguments: list[str]) -> int:
    """The exit status of ``cslm ARGUMENTS``."""
    try:
        cli.run(arguments)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_usage_lists_every_verb(capsys):
    assert leave(["--help"]) == 0 and leave([]) == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in cli.VERBS)


def test_version(capsys):
    assert leave(["--version"]) == 0
    assert capsys.readouterr().out == f"cslm {cslm.__version__}\n"


def test_an_unknown_verb_is_one_line_and_status_2(capsys):
    assert leave(["pretrian"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "pretrian" in printed and "pretrain" in printed


@pytest.mark.parametrize(("verb", "name"), SCRIPTS.items())
def test_one_verb_one_file_one_function(verb, name):
    module = importlib.import_module(cli.VERBS[verb][0])
    assert module.__name__.rsplit(".", 1)[-1] == name
    assert callable(getattr(module, name)) and callable(module.main)
    scripts = [path for path in ROOT.glob(f"*/{name}.py") if path.parent.name in ("tools", "recipes")]
    assert len(scripts) == 1
    assert f"from {module.__name__} import main" in scripts[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_every_verb(verb, capsys):
    assert leave([verb, "--help"]) == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_slip_is_one_line_and_status_2(verb, capsys):
    assert leave([verb, "--no_such_setting", "1"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1


def test_the_verb_may_be_written_as_the_script(capsys):
    assert leave(["fit_tokenizer", "--help"]) == 0


def test_a_script_sets_the_exit_status(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "fit_tokenizer.py"), str(tmp_path / "none.jsonl")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "card.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "none.jsonl" in done.stderr and "Traceback" not in done.stderr


def test_a_mistyped_verb_was_refused_without_the_one_that_was_meant(capsys):
    assert leave(["tokenise-corpus"]) == 2
    assert "'tokenise-corpus' (did you mean tokenize-corpus?)" in capsys.readouterr().err


def test_ctrl_c_was_a_traceback(capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as leaving:
        exit_with_status(interrupted)
    assert leaving.value.code == 130
    printed = capsys.readouterr().err
    assert printed.startswith("stopped by Ctrl+C: ") and printed.count("\n") == 1


def test_users_get_one_line(capsys):
    def mistaken() -> None:
        raise UserError("the file\n  a.wav is empty")

    with pytest.raises(SystemExit) as leaving:
        exit_with_status(mistaken)
    assert leaving.value.code == 2
    assert capsys.readouterr().err == "error: the file a.wav is empty\n"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOTDIR, errno.EISDIR])
def test_a_path_that_the_system_refuses_is_one_line(capsys, number):
    def refused() -> None:
        raise OSError(number, os.strerror(number), "out/a.wav")

    with pytest.raises(SystemExit) as leaving:
        exit_with_status(refused)
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: out/a.wav: {os.strerror(number)}: ")


def test_a_missing_extra_says_what_to_install():
    assert "pip install 'cslm[tts]'" in str(MissingExtraError("espeakng-loader", "tts", "the village"))
