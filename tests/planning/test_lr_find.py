from __future__ import annotations

import json

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.planning import lr_find
from cslm.planning.lr_find import RateCurve
from cslm.training import pretrain
from tests.training.processes import finish, start
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config

RATES = np.geomspace(1e-6, 1, 61).tolist()  # ten steps in each power of ten


def curve(losses, diverged_at=None):
    rates = RATES[: len(losses)]
    return RateCurve(rates, losses, losses, diverged_at)


def test_a_fall_and_a_rise_are_found():
    """Flat to 1e-4, down by 4 over one power of ten, flat to 1e-2, up."""
    losses = [6.0] * 21 + [6.0 - 0.4 * step for step in range(1, 11)] + [2.0 - 0.001 * step for step in range(10)]
    found = curve([*losses, *(2.0 + step for step in range(20))])
    assert found.steepest == pytest.approx(10**-3.5, rel=0.6)
    assert found.turn == pytest.approx(1e-2, rel=0.3)
    assert found.suggestion == min(found.steepest, found.turn / 10) == found.steepest
    assert f"suggested: --training.learning_rate {found.steepest:.1e}" in found.lines()[-1]


def test_a_turn_close_to_the_fall_decides():
    found = curve([6.0] * 21 + [6.0 - 0.4 * step for step in range(10)], diverged_at=RATES[31])
    assert found.turn == RATES[30] and found.suggestion == found.turn / 10 < found.steepest
    assert found.lines()[0].startswith("cut short at 1.3e-03")


def test_a_loss_that_only_falls_or_only_rises():
    falls, rises = curve([6.0 - 0.05 * step for step in range(60)]), curve([2.0 + step for step in range(60)])
    assert falls.turn is None and falls.suggestion == falls.steepest
    assert "never rises" in "\n".join(falls.lines())
    assert rises.suggestion is None and "no suggestion: the loss never fell" in rises.lines()[-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp("world"))
    pretrain.main(["--config", str(write_config(root / "text_lm.yaml", text_lm_config(root)))])
    write_config(root / "pretrain.yaml", pretrain_config(root))
    return root


def test_the_tiny_world_has_a_sane_rate(world, capsys):
    told = ["--json", str(world / "found.json"), "--chart", str(world / "charts" / "found.png")]
    lr_find.main(["--config", str(world / "pretrain.yaml"), *told])
    assert (world / "charts" / "found.png").read_bytes().startswith(b"\x89PNG")
    printed, found = capsys.readouterr().out, json.loads((world / "found.json").read_text())
    assert 3e-4 < found["suggestion"] < 1e-1
    assert f"suggested: --training.learning_rate {found['suggestion']:.1e}" in printed
    assert printed.count("smoothed") >= len(found["rates"]) and not (world / "pretrain").exists()
    # What it suggests learns better than a rate far below.
    last = {}
    for rate in (found["suggestion"], found["suggestion"] / 100):
        name = f"rate-{rate:.0e}"
        more = ["--output", name, "--training.learning_rate", str(rate), "--training.max_tokens", "6000"]
        pretrain.main(["--config", str(world / "pretrain.yaml"), *more])
        last[rate] = json.loads((world / name / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
    assert last[found["suggestion"]] < last[found["suggestion"] / 100] - 0.5


def test_a_range_that_diverges_is_cut_short(world, capsys):
    config = {**text_lm_config(world), "output": "elsewhere"}
    given = [
        "--lr_max",
        "1e9",
        "--num_steps",
        "60",
        "--training.optimizer.gradient_clip",
        "0",
        "--training.optimizer.name",
        "sgd",
    ]
    lr_find.main(["--config", str(write_config(world / "high.yaml", config)), *given])
    printed = capsys.readouterr().out
    assert "cut short at" in printed and "step 60/60" not in printed
    assert not (world / "elsewhere").exists()  # the text tokenizer was fitted aside


def test_two_processes_see_the_curve_of_one(world):
    given = ["recipes/lr_find.py", "--config", str(world / "pretrain.yaml"), "--num_steps", "8", "--lr_max", "0.01"]
    for count in (1, 2):
        finish(start(count, *given, "--json", str(world / f"{count}.json")))
    one, two = (json.loads((world / f"{count}.json").read_text()) for count in (1, 2))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4) and len(one["losses"]) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lr_min", "1", "--lr_max", "0.1"), "lr_min is 1.0 and lr_max 0.1"),
        (("--num_steps", "2"), "num_steps is 2"),
        (("--smoothing", "1"), "smoothing is 1.0"),
    ],
)
def test_mistakes_are_named(world, arguments, message):
    with pytest.raises(UserError, match=message):
        lr_find.main(["--config", str(world / "pretrain.yaml"), *arguments])
