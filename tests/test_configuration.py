"""Configuration: YAML and command line into dataclasses, and every slip refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from cslm.configuration import given_keys, load_configuration, parse_configuration, save_configuration, to_plain
from cslm.errors import UserError


@dataclass
class SpeedConfig:
    """How fast."""

    learning_rate: float = 1e-3
    """size of a step"""
    max_steps: int | None = None
    """when to stop"""
    betas: tuple[float, float] = (0.9, 0.95)
    """two decay rates"""

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise UserError(f"learning_rate is {self.learning_rate}: it must not be negative")


@dataclass
class SourceConfig:
    """Where from."""

    task: str
    """what is learnt"""
    weight: float = 1.0
    """its share"""
    languages: list[str] | None = None
    """these alone"""


@dataclass
class RunConfig:
    """A run."""

    output: str
    """folder of the result"""
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    """what is mixed"""
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    """how fast"""
    architecture: dict[str, Any] | None = None
    """a model from scratch"""


@dataclass
class FilesConfig:
    """Some files and where they go."""

    manifests: list[str]
    """one or more manifests"""
    output: str
    """folder of the result"""
    seed: int = 0
    """decides the draw"""


FULL = """
output: here
sources:
  asr: {task: asr, weight: 2}
  tts: {task: tts, languages: [en, zh]}
speed: {learning_rate: 1e-4, betas: [0.9, 0.99]}
architecture: {model_type: llama, hidden_size: 8}
"""


def write(folder: Path, text: str, name: str = "run.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_yaml_fills_the_dataclasses(tmp_path):
    config = load_configuration(RunConfig, write(tmp_path, FULL))
    assert config.sources == {"asr": SourceConfig("asr", 2.0), "tts": SourceConfig("tts", 1.0, ["en", "zh"])}
    assert config.speed == SpeedConfig(1e-4, None, (0.9, 0.99))
    assert config.architecture == {"model_type": "llama", "hidden_size": 8}


def test_later_arguments_win(tmp_path):
    first, second = write(tmp_path, FULL), write(tmp_path, "speed: {max_steps: 5}", "more.yaml")
    arguments = ["--config", first, f"--config={second}", "--speed.max_steps", "7", "--output", "there"]
    config = parse_configuration(RunConfig, [*arguments, "--sources.asr.weight", "5"], "run")
    assert (config.output, config.speed.max_steps, config.speed.learning_rate) == ("there", 7, 1e-4)
    assert config.sources["asr"] == SourceConfig("asr", 5.0)


def test_the_keys_that_are_given_are_known_before_the_configuration_is_built(tmp_path):
    arguments = ["--config", write(tmp_path, "output: a\nspeed: {betas: [0, 1]}"), "--seed", "3", "--speed.max_steps=7"]
    assert given_keys(arguments, "run") == ["output", "speed", "speed.betas", "seed", "speed.max_steps"]
    with pytest.raises(UserError, match=r"run: there is no configuration file no\.yaml"):
        given_keys(["--config=no.yaml"], "run")


def test_the_command_line_wins_over_a_file_that_comes_after_it(tmp_path):
    """``score.py CHECKPOINT --config YAML`` scored the checkpoint that the YAML named."""
    given = ["--output", "there", "--config", write(tmp_path, FULL)]
    assert parse_configuration(RunConfig, given, "run").output == "there"
    file = write(tmp_path, "output: c\nseed: 2\nmanifests: [of the file]")
    config = parse_configuration(FilesConfig, ["mine", "--config", file], "files", ["manifests"])
    assert config == FilesConfig(["mine"], "c", 2)


@pytest.mark.parametrize("given", [["--local_rank", "3"], ["--local_rank=3"], ["--local-rank=3"]])
def test_the_rank_of_the_launcher_is_accepted(given):
    assert parse_configuration(RunConfig, [*given, "--output", "a"], "run") == RunConfig("a")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("outptu: a", ["outptu", "run.yaml"]),
        ("speeed: {}", ["speeed", "run.yaml"]),
        ("output: a\nspeed: {learning_rat: 1}", ["learning_rat", "speed", "run.yaml"]),
        ("output: a\nspeed: {learning_rate: fast}", ["speed.learning_rate", "fast", "float"]),
        ("output: a\nspeed: {learning_rate: -1}", ["learning_rate", "negative"]),
        ("output: a\nspeed: {max_steps: 1.5}", ["speed.max_steps", "1.5"]),
        ("output: a\nsources: {asr: {task: asr, wieght: 2}}", ["sources", "wieght"]),
        ("output: a\nsources: {asr: {weight: 2}}", ["sources", "task"]),
        ("speed: {max_steps: 3}", ["output", "required"]),
        ("output: [", ["run.yaml", "not YAML"]),
        ("output: a\nspeed: {}\noutput: b", ["run.yaml", "'output' stands there twice", "line 3"]),
        ("output: a\nspeed: {max_steps: 1, max_steps: 2}", ["run.yaml", "'max_steps' stands there twice", "line 2"]),
        ("- output", ["run.yaml", "no keys"]),
        ("", ["run.yaml", "no keys"]),
    ],
)
def test_slips_are_refused_by_name(tmp_path, text, named):
    with pytest.raises(UserError) as error:
        load_configuration(RunConfig, write(tmp_path, text))
    for word in named:
        assert word in str(error.value)


@pytest.mark.parametrize("given", [["--speed.max_step", "3"], ["--outp", "b"], ["surplus"], ["--speed.max_steps", "x"]])
def test_slips_on_the_command_line(given):
    with pytest.raises(UserError, match="max_step|outp|surplus"):
        parse_configuration(RunConfig, ["--output", "a", *given], "run")


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere/run\.yaml"):
        load_configuration(RunConfig, "nowhere/run.yaml")


def test_positionals_come_without_their_names():
    config = parse_configuration(FilesConfig, ["a", "b", "--output", "c", "--seed", "3"], "files", ["manifests"])
    assert config == FilesConfig(["a", "b"], "c", 3)
    config = parse_configuration(FilesConfig, ["--output", "c", "a"], "files", ["manifests"])
    assert config == FilesConfig(["a"], "c")
    with pytest.raises(UserError, match="manifests"):
        parse_configuration(FilesConfig, ["--output", "c"], "files", ["manifests"])


def test_help_prints_the_sentences(capsys):
    with pytest.raises(SystemExit) as leaving:
        parse_configuration(FilesConfig, ["--help"], "files", ["manifests"])
    assert leaving.value.code == 0
    printed = capsys.readouterr().out
    assert all(
        sentence in printed for sentence in ("one or more manifests", "folder of the result", "decides the draw")
    )


def test_saved_and_read_again(tmp_path):
    config = load_configuration(RunConfig, write(tmp_path, FULL))
    save_configuration(config, tmp_path / "deep" / "config.yaml")
    assert load_configuration(RunConfig, tmp_path / "deep" / "config.yaml") == config
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["config.yaml"]


def test_plain_values_go_into_yaml():
    plain = to_plain({"a": Path("b"), "c": (1, SpeedConfig())})
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain
