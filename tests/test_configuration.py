"""Configuration: YAML and command line into dataclasses, and every slip refused by name."""

from __future__ import annotations

import re
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


@dataclass
class PlaceConfig:
    """A section that may be null, in a section that may be null."""

    speed: SpeedConfig | None = None
    """how fast"""


@dataclass
class JourneyConfig:
    """From here to there."""

    place: PlaceConfig | None = None
    """where"""


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


@pytest.mark.parametrize(
    ("text", "given", "offered"),
    [
        ("outptu: a", [], "output"),
        ("output: a\nspeed: {learning_rat: 1}", [], "learning_rate"),
        ("output: a\nsources: {asr: {task: asr, wieght: 2}}", [], "weight"),
        ("output: a", ["--sped.max_steps", "3"], "--speed.max_steps"),
        ("output: a", ["--speed.max_step", "3"], "--speed.max_steps"),
    ],
)
def test_a_mistyped_key_was_refused_without_the_one_that_was_meant(tmp_path, text, given, offered):
    with pytest.raises(UserError, match=re.escape(f"(did you mean {offered}?)")):
        load_configuration(RunConfig, write(tmp_path, text), *given)


def test_nothing_is_offered_for_a_key_that_is_near_to_none(tmp_path):
    with pytest.raises(UserError) as error:
        load_configuration(RunConfig, write(tmp_path, "output: a\nspeed: {zzz: 1}"))
    assert "did you mean" not in str(error.value)


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


@pytest.mark.parametrize("name", ["no", "1", "on", "null", "1e3", "2024-01-01"])
def test_a_source_may_be_called_as_it_is_written(tmp_path, name):
    path = write(tmp_path, f"output: here\nsources:\n  {name}: {{task: asr}}\n")
    assert list(load_configuration(RunConfig, path).sources) == [name]
    save_configuration(load_configuration(RunConfig, path), tmp_path / "saved.yaml")
    assert list(load_configuration(RunConfig, tmp_path / "saved.yaml").sources) == [name]
    assert load_configuration(RunConfig, path, f"--sources.{name}.weight=3").sources[name].weight == 3


def test_norwegian_became_false(tmp_path):
    path = write(tmp_path, "output: 2024\nsources: {a: {task: no, languages: [no, on, en]}}\narchitecture: {b: no}\n")
    run = load_configuration(RunConfig, path)
    assert (run.output, run.sources["a"].task, run.sources["a"].languages) == ("2024", "no", ["no", "on", "en"])
    assert run.architecture == {"b": False}
    given = load_configuration(RunConfig, path, "--sources", "{a: {task: asr, languages: [no]}}")
    assert given.sources["a"].languages == ["no"]


@dataclass
class VoicesConfig:
    """Who speaks."""

    name: str = ""
    """what it is called"""
    voices: dict[str, list[str] | None] = field(default_factory=dict)
    """by language"""


def test_a_voice_for_norwegian_was_a_traceback(tmp_path):
    (tmp_path / "v.yaml").write_text("voices: {no: null, en: [1, on]}\n")
    wanted = {"no": None, "en": ["1", "on"]}
    assert load_configuration(VoicesConfig, tmp_path / "v.yaml").voices == wanted
    assert parse_configuration(VoicesConfig, ["--voices", "{no: null, en: [1, on]}"], "x").voices == wanted
    assert parse_configuration(VoicesConfig, ["--voices.no", "null"], "x").voices == {"no": None}
    assert parse_configuration(VoicesConfig, ["--name", "[a]"], "x").name == "[a]"


@pytest.mark.parametrize("written", ["5e7", "5.0e+7", "50_000_000"])
def test_a_whole_number_with_an_exponent_was_refused(tmp_path, written):
    path = write(tmp_path, f"output: here\nspeed: {{max_steps: {written}, learning_rate: 1e-4}}\n")
    speed = load_configuration(RunConfig, path).speed
    assert speed.max_steps == 50_000_000 and isinstance(speed.max_steps, int) and speed.learning_rate == 1e-4
    assert load_configuration(RunConfig, path, f"--speed.max_steps={written}").speed == speed
    with pytest.raises(UserError, match=r"max_steps"):
        load_configuration(RunConfig, path, "--speed.max_steps=1.5")


def test_a_home_folder_was_looked_for_below_the_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("DATA", "/data")
    path = write(tmp_path, "output: ~/out\nsources: {a: {task: $DATA/a, languages: ['${DATA}/b', costs $5]}}\n")
    run = load_configuration(RunConfig, path)
    assert (run.output, run.sources["a"].task) == ("/home/anna/out", "/data/a")
    assert run.sources["a"].languages == ["/data/b", "costs $5"]
    for given in (["--output=~/two"], ["--output", "~/two"], ["--output", "$HOME/two"]):
        assert load_configuration(RunConfig, path, *given).output == "/home/anna/two"
    files = parse_configuration(FilesConfig, ["--manifests", '["~/a.jsonl", "$DATA/b.jsonl"]', "--output", "~"], "x")
    assert files == FilesConfig(["/home/anna/a.jsonl", "/data/b.jsonl"], "/home/anna")
    asked = parse_configuration(FilesConfig, ["~/a", "${DATA}/b", "--output", "c~d"], "x", ("manifests",))
    assert asked == FilesConfig(["/home/anna/a", "/data/b"], "c~d")
    (tmp_path / "run.yaml").rename(tmp_path / "other.yaml")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_configuration(RunConfig, ["--config", "~/other.yaml"], "x").output == f"{tmp_path}/out"


def test_a_variable_that_is_not_set_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(UserError, match=r"\$NOWHERE/out: the variable \$NOWHERE is not set"):
        load_configuration(RunConfig, write(tmp_path, "output: $NOWHERE/out\n"))
    with pytest.raises(UserError, match=r"the variable \$\{NOWHERE\} is not set"):
        parse_configuration(FilesConfig, ["a", "--output=x/${NOWHERE}"], "x", ("manifests",))


def test_a_value_out_of_range_in_a_section_that_may_be_null_was_a_traceback(tmp_path):
    path = write(tmp_path, "place: {speed: {learning_rate: -1}}\n")
    with pytest.raises(UserError, match=r"^learning_rate is -1.*: it must not be negative \(read: .*\)$"):
        load_configuration(JourneyConfig, path)
    good = write(tmp_path, "place: {speed: {learning_rate: 1}}\n", "good.yaml")
    assert load_configuration(JourneyConfig, good).place == PlaceConfig(SpeedConfig(1.0))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("output: a\nspede: {}\n", "unknown key 'spede'"),
        ("output: a\nspeed: {learning_rat: {}}\n", "unknown key 'speed.learning_rat'.*learning_rate"),
        ("output: a\nsources: {asr: {task: asr, wieght: {}}}\n", "unknown key 'sources.asr.wieght'.*weight"),
    ],
)
def test_an_empty_section_with_a_mistyped_name_was_left_out_without_a_word(tmp_path, written, told):
    with pytest.raises(UserError, match=told):
        load_configuration(RunConfig, write(tmp_path, written))


def test_an_empty_section_of_its_name_is_one_of_defaults(tmp_path):
    path = write(tmp_path, "output: a\nspeed: {}\narchitecture: {anything: {}}\n")
    assert load_configuration(RunConfig, path) == RunConfig("a", architecture={"anything": {}})
