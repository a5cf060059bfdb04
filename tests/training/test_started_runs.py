"""One start at a time in the folder of a run, and nothing left by one that made no step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cslm.errors import UserError
from cslm.training import finetune, pretrain
from cslm.training.engine import start_processes
from cslm.training.run_claim import claim
from tests.training.processes import ROOT, clean_environment, finish, start
from tests.worlds.tiny_models import tiny_model
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp("world"))
    run(root, text_lm_config(root, max_steps=1))
    return root


def run(root, config, *arguments, verb=pretrain):
    verb.main(["--config", str(write_config(root / "run.yaml", config)), *arguments])


def test_a_typo_in_the_base_leaves_nothing_and_the_mended_command_runs(world):
    config = pretrain_config(world, max_steps=1) | {"output": "deep/typo"}
    with pytest.raises(UserError, match=rf"text_ml: there is no such checkpoint folder.*looked for {world}/text_ml"):
        run(world, config | {"model": {"base": "text_ml"}})
    assert not (world / "deep").exists()
    run(world, config)
    assert (world / "deep" / "typo" / "model.safetensors").is_file()


def test_a_start_that_fails_while_it_opens_its_data_leaves_nothing(world):
    config = text_lm_config(world, max_steps=1) | {"output": "failed", "chat_template": "nowhere.jinja"}
    with pytest.raises(UserError, match=r"nowhere\.jinja: there is no such file, looked for"):
        run(world, config)
    assert not (world / "failed").exists()


def test_what_a_killed_start_left_is_free_for_another_configuration_and_files_of_others_stay(world):
    output = world / "killed"
    (output / "text_tokenizer").mkdir(parents=True)
    config = text_lm_config(world, max_steps=1) | {"output": "killed"}
    (output / "config.yaml").write_text(json.dumps(config | {"initialisation": "normal"}))
    (output / "notes.txt").write_text("mine")
    run(world, config)
    assert (output / "model.safetensors").is_file() and (output / "notes.txt").read_text() == "mine"


def test_a_run_with_a_step_is_not_free_for_another_configuration(world):
    with pytest.raises(UserError, match=r"holds another run: training\.seed is 0 there and 1 here"):
        run(world, text_lm_config(world, max_steps=1, seed=1))


def test_a_configuration_of_something_else_is_not_touched(world):
    (world / "other").mkdir()
    (world / "other" / "config.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match="is no configuration of a run"):
        run(world, text_lm_config(world, max_steps=1) | {"output": "other"})
    assert (world / "other" / "config.yaml").read_text() == "a: 1\n"


def test_the_same_command_twice_at_once_is_refused_by_name_and_the_first_goes_on(tmp_path, world):
    start_processes(1)
    config = pretrain.PretrainConfig
    with pytest.raises(UserError, match=rf"in use is in use by another start of a run \(process {os.getpid()} on"):  # noqa: SIM117
        with claim(tmp_path / "in use", _config()), claim(tmp_path / "in use", _config()):
            raise AssertionError(config)
    assert not (tmp_path / "in use").exists()


def _config():
    from tests.training.test_run_folder import Config

    return Config()


HOLD = """
import sys, time
from pathlib import Path
from cslm.training.engine import start_processes
from cslm.training.run_claim import claim
from tests.training.test_run_folder import Config
start_processes(1)
with claim(Path(sys.argv[1]), Config()):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_process_that_was_killed_is_gone_with_it(tmp_path):
    output = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)], cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert any("held" in line for line in holder.stdout)  # Gloo may have a word before
        with pytest.raises(UserError, match="in use by another start"), claim(output, _config()):
            pass
        assert (output / "config.yaml").is_file()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with claim(output, _config()):
            assert (output / ".lock").is_file()
    finally:
        holder.kill()


def test_an_output_below_a_file_is_one_line(world):
    for output in ("texts.jsonl/run", "texts.jsonl"):
        with pytest.raises(UserError, match=r"texts\.jsonl is a file: give another output folder"):
            run(world, text_lm_config(world, max_steps=1) | {"output": output})


def test_an_output_that_may_not_be_written_is_one_line(world, monkeypatch):
    def refused(self, *arguments, **names):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(UserError, match=r"output .*closed cannot be used \(Permission denied"):
        run(world, text_lm_config(world, max_steps=1) | {"output": "closed"})


def test_a_wrong_working_directory_says_where_it_looked(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = pretrain_config(world, max_steps=1) | {"output": str(tmp_path / "out")}
    with pytest.raises(UserError, match=rf"data_root is corpus: there is no such folder, looked for {tmp_path}/corpus"):
        run(world, config | {"data_root": "corpus"})
    with pytest.raises(UserError, match=rf"text_lm: there is no such checkpoint.*looked for {tmp_path}/text_lm"):
        run(world, config | {"data_root": "."})
    missing = config | {"sources": {"asr": {"task": "asr", "store": "stores/units", "weight": 1.0}}}
    with pytest.raises(UserError, match=rf"the source asr: there is no .*looked for {world}/stores/units"):
        run(world, missing)


def test_fine_tuning_from_a_run_that_is_not_finished_names_the_command_that_finishes_it(world):
    run(world, pretrain_config(world, max_steps=2, save_every=1) | {"output": "half"})
    (world / "half" / "config.json").unlink()
    config = pretrain_config(world, max_steps=1) | {"model": {"base": "half"}, "output": "x", "tokenizer_card": None}
    told = rf"half is a run that is not finished.*`cslm pretrain --config {world}/half/config\.yaml`"
    with pytest.raises(UserError, match=told):
        run(world, config, verb=finetune)


def test_an_empty_folder_is_no_base(world):
    (world / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty is empty .*: give the folder of a checkpoint"):
        run(world, pretrain_config(world) | {"model": {"base": "empty"}, "output": "x"})


@pytest.mark.parametrize(
    ("variables", "missing"),
    [({"RANK": "0"}, "LOCAL_RANK, WORLD_SIZE"), ({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK"),
     ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, "MASTER_ADDR, MASTER_PORT")],
)  # fmt: skip
def test_half_of_a_launcher_is_refused_with_what_is_missing(monkeypatch, variables, missing):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"lacks {missing}"):
        start_processes(1)


def test_a_base_with_too_few_positions_is_refused_before_any_data_are_read(world):
    short = tiny_model("llama")
    short.config.max_position_embeddings = 256
    short.save_pretrained(world / "short")
    config = pretrain_config(world, max_length=600, tokens_per_micro_batch=700)
    config |= {"model": {"base": "short"}, "output": "too long"}
    with pytest.raises(UserError, match=r"training\.max_length is 600, and short has 512 positions"):
        run(world, config)
    assert not (world / "too long").exists()


def test_settings_of_new_rows_are_refused_where_there_are_none(world):
    with pytest.raises(UserError, match="untie_head is True, and this run adds no units to its base"):
        run(world, text_lm_config(world, max_steps=1) | {"output": "rows", "untie_head": True})


def test_two_processes_are_refused_together(tmp_path, world):
    config = write_config(
        world / "two.yaml", text_lm_config(world, max_steps=1) | {"chat_template": "no", "output": "t"}
    )
    began = time.monotonic()
    finish(start(2, "recipes/pretrain.py", "--config", str(config)), status=2)
    assert time.monotonic() - began < 300 and not (world / "t").exists()
