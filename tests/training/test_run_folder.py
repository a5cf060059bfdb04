from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import yaml

from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.training.run_folder import check_output, write_configuration
from cslm.training.training_config import TrainingConfig
from tests.worlds.flat_training import training_config


@dataclass
class Config:
    name: str = "a"
    output: str = "x"
    training: TrainingConfig = field(default_factory=lambda: training_config(max_steps=3))


def write_begun(output, config):
    """A run that has logged a step."""
    write_configuration(output, config)
    (output / "metrics.jsonl").write_text('{"step": 1}\n')


def test_a_new_folder_and_the_same_run_are_fine(tmp_path):
    output = tmp_path / "run"
    check_output(output, Config())
    assert not output.exists()
    write_configuration(output, Config())
    check_output(output, Config())


def test_another_run_is_refused_by_the_key_that_differs(tmp_path):
    write_begun(tmp_path, Config())
    with pytest.raises(UserError, match="name is 'a' there and 'b' here"):
        check_output(tmp_path, Config(name="b"))
    with pytest.raises(UserError, match=r"training\.seed"):
        check_output(tmp_path, Config(training=training_config(max_steps=3, seed=1)))


def test_where_it_stops_and_what_it_runs_on_may_change(tmp_path):
    write_begun(tmp_path, Config())
    before = (tmp_path / "config.yaml").read_text("utf-8")
    other = training_config(max_steps=9, zero_stage=3, num_threads=2, log_every=7, tokens_per_micro_batch=77)
    check_output(tmp_path, replace(Config(training=other), output="elsewhere"))
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "metrics.jsonl"}
    assert (tmp_path / "config.yaml").read_text("utf-8") == before
    with pytest.raises(UserError, match="max_length"):  # what the data depends on may not change with it
        check_output(tmp_path, replace(Config(training=replace(other, max_length=9)), output="elsewhere"))


def test_a_folder_without_a_step_is_free_for_another_configuration(tmp_path):
    write_configuration(tmp_path, Config())
    check_output(tmp_path, Config(name="b"))
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    write_begun(tmp_path, Config())
    with pytest.raises(UserError, match="name"):  # once there is a step, it is not
        check_output(tmp_path, Config(name="b"))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no run"):
        check_output(tmp_path, Config())
    with pytest.raises(UserError, match="is a file"):
        check_output(tmp_path / "notes.txt", Config())


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config\.yaml is not YAML"):
        check_output(tmp_path, Config())


def test_a_run_begun_before_a_setting_existed_goes_on_with_its_default(tmp_path):
    write_begun(tmp_path, Config())
    path = tmp_path / "config.yaml"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "weight_decay" not in line and "name" not in line))
    check_output(tmp_path, Config())
    with pytest.raises(UserError, match=r"training\.optimizer\.weight_decay is 0\.0 there and 0\.1 here"):
        check_output(tmp_path, Config(training=training_config(max_steps=3, weight_decay=0.1)))


def test_a_run_begun_when_settings_stood_in_no_groups_is_resumed(tmp_path):
    config = Config(
        training=training_config(max_steps=3, optimizer="muon", zero_stage=0, schedule="linear", warmup_steps=2)
    )
    write_begun(tmp_path, config)
    path = tmp_path / "config.yaml"
    written = yaml.safe_load(path.read_text("utf-8"))
    new = written["training"]
    flat = {name: value for name, value in new.items() if not isinstance(value, dict)}
    for former, place in TrainingConfig.FORMER_NAMES.items():
        group, name = place.split(".")
        flat[former] = new[group][name]
    assert (flat["optimizer"], flat["schedule"], flat["zero_stage"]) == ("muon", "linear", 0) and len(flat) == 31
    path.write_text(yaml.safe_dump({**written, "training": flat}))
    check_output(tmp_path, config)
    with pytest.raises(UserError, match=r"training\.optimizer\.name is 'muon' there and 'adamw' here"):
        check_output(tmp_path, Config())


def test_former_names_are_refused_with_the_new_ones(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: b\ntraining: {max_steps: 3, precision: bf16}\n")
    with pytest.raises(
        UserError, match=r"run\.yaml: training\.precision is now training\.device\.precision: write it there"
    ):
        load_configuration(Config, path)
    path.write_text("training: {max_steps: 3, optimizer: sgd}\n")
    with pytest.raises(UserError, match=r"training\.optimizer is now training\.optimizer\.name"):
        load_configuration(Config, path)
    path.write_text("training: {max_steps: 3, optimizer: {name: sgd}}\n")
    assert load_configuration(Config, path, "--training.optimizer.betas=[0.8, 0.9]").training.optimizer.name == "sgd"
    for flag in (["--training.zero_stage", "0"], ["--training.zero_stage=0"]):
        with pytest.raises(UserError, match=r"--training\.zero_stage is now --training\.device\.zero_stage"):
            load_configuration(Config, path, *flag)
    with pytest.raises(UserError, match=r"--training\.schedule is now --training\.schedule\.shape"):
        load_configuration(Config, path, "--training.schedule", "linear")
