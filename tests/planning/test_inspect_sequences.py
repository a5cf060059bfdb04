from __future__ import annotations

import sys

import pytest

from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.planning import inspect_sequences
from cslm.planning.inspect_sequences import InspectSequencesConfig
from cslm.sequences.sequence_view import num_learnt
from cslm.training.language_model import open_data
from cslm.training.pretrain import main
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world, and a base that is a folder with a text tokenizer and a configuration, but no weights."""
    root = make_world(tmp_path_factory.mktemp("world"))
    main(["--config", str(write_config(root / "text_lm.yaml", text_lm_config(root))), "--training.max_steps", "1"])
    (root / "text_lm" / "model.safetensors").unlink()
    config = pretrain_config(root, max_length=48)
    config["sources"]["tts"] |= {"unit_noise": 0.5, "loss_weight": 2.0}
    write_config(root / "pretrain.yaml", config)
    return root


def told(world, capsys, *arguments, name="pretrain"):
    inspect_sequences.main(["--config", str(world / f"{name}.yaml"), *arguments])
    return capsys.readouterr().out


def test_documents_are_those_that_training_draws(world, capsys, tmp_path):
    stream = open_data(load_configuration(InspectSequencesConfig, world / "pretrain.yaml"), scratch=tmp_path).stream
    printed = told(world, capsys, "--slot", "5", "--count", "2")
    for slot in (5, 6):
        name, document = stream.document(slot)
        shape = f"slot {slot}  source {name}  task {document.task}  {len(document)} ids, {num_learnt(document)} learnt"
        assert shape in printed
    assert "slot 7" not in printed and "\x1b" not in printed
    assert not (world / "pretrain").exists()


def test_one_source_with_its_noise_and_weight(world, capsys):
    printed = told(world, capsys, "--source", "tts", "--color", "always")
    heads = [line for line in printed.splitlines() if line.startswith("slot ")]
    assert len(heads) == 3
    assert all("source tts" in head and "each counts 2 times" in head and "read as others" in head for head in heads)
    assert "\x1b[1;7;31m(<" in printed
    shares = [line.split() for line in printed.splitlines() if line.startswith("tts ")]
    assert sum(float(row[-1].rstrip("%")) for row in shares) == pytest.approx(100, abs=0.3)


def test_a_row_has_the_boundaries_that_the_model_gets(world, capsys, tmp_path):
    stream = open_data(load_configuration(InspectSequencesConfig, world / "pretrain.yaml"), scratch=tmp_path).stream
    rows = stream.step({"slot": 3}).micro_batches
    printed = told(world, capsys, "--slot", "3", "--row", "1")
    assert f"row 1 of {len(rows)} in the step at slot 3" in printed
    assert "boundaries " + " ".join(map(str, rows[1].boundaries)) in printed
    with pytest.raises(UserError, match=rf"row is 9, but the step at slot 3 has {len(rows)} rows"):
        told(world, capsys, "--slot", "3", "--row", "9")


def test_what_is_dropped_or_cut_is_told(world, capsys):
    config = pretrain_config(world, max_length=20)
    write_config(world / "short.yaml", config)
    assert "; DROPPED: longer than max_length 20" in told(world, capsys, name="short")
    write_config(world / "cut.yaml", {**text_lm_config(world, max_length=8), "output": "elsewhere"})
    assert "; CUT to this window of " in told(world, capsys, name="cut")
    assert not (world / "elsewhere").exists()  # the text tokenizer was fitted aside


def test_colour_is_for_terminals_and_for_those_who_want_it(world, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in told(world, capsys)
    assert "\x1b[" not in told(world, capsys, "--color", "never")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in told(world, capsys)
    assert "\x1b[" in told(world, capsys, "--color", "always")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "nowhere"), "no source 'nowhere'.*asr, mt, tts"),
        (("--color", "blue"), "color is 'blue': choose one of auto, always, never"),
        (("--slot", "-1"), "slot is -1"),
        (("--row", "0", "--source", "tts"), "row and source"),
    ],
)
def test_mistakes_are_named(world, capsys, arguments, message):
    with pytest.raises(UserError, match=message):
        told(world, capsys, *arguments)
