"""Measuring claims: worlds of their own, files from which the figures come again, seeds that are told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan

import pytest

from cslm.benchmarks.claims import measure_claim as module
from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.claims import CLAIMS, claim_of
from cslm.benchmarks.claims.figures import Figure, gain_figure
from cslm.benchmarks.claims.measure_claim import figures_again, measure_claim
from cslm.benchmarks.claims.rows import Row, read_rows
from cslm.errors import UserError


def claim_in(world, seen, curve_arms=(), text="weight: 1"):
    """A claim whose baseline gets every other item right, and whose method gets all."""

    def measure(stages, seed, arms):
        seen.append(stages.folder)
        settings = stages.folder.with_name("train.yaml")
        stages.folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(text)
        stages.run("version", "--version", [], [settings])
        for arm, step in (("baseline", 2), ("method", 1), *((arm, 1) for arm in arms if arm in curve_arms)):
            yield from (Row(arm, seed, f"story/{item}", "accuracy", float(item % step == 0)) for item in range(20))

    return Claim(
        world, "A method against a baseline.", ("baseline", "method"), measure,
        lambda rows: [gain_figure("gain", rows, "accuracy", "method", "baseline", 0.12)], curve_arms,
    )  # fmt: skip


def test_claims_of_two_worlds_in_one_folder_of_runs_were_refused_as_other_settings(tmp_path, monkeypatch):
    seen = []
    claims = {"one": claim_in("xli", seen), "two": claim_in("xs_cot", seen)}
    monkeypatch.setattr(module, "claim_of", claims.__getitem__)
    for name in claims:
        measure_claim(name, [0, 1], tmp_path / f"{name}.json", tmp_path / "runs")
    assert [str(folder.relative_to(tmp_path)) for folder in seen] == [
        "runs/xli/seed0", "runs/xli/seed1", "runs/xs_cot/seed0", "runs/xs_cot/seed1",
    ]  # fmt: skip
    worlds = {"xli": "xli", "xs": "xs_cot", "lad": "prompt", "mtbi": "prompt"}
    expected = {name: worlds[name.split("_")[0]] for name in CLAIMS} | {"xs_cot_prompt": "prompt"}
    assert {name: claim_of(name).world for name in CLAIMS} == expected


def test_the_file_holds_arms_seeds_and_figures_and_its_rows_give_them_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "claim_of", lambda name: claim_in("xli", []))
    (figure,) = measure_claim("one", [0, 2], tmp_path / "one.json", tmp_path / "runs")
    content = json.loads((tmp_path / "one.json").read_text())
    assert content["arms"] == ["baseline", "method"] and content["seeds"] == [0, 2]
    assert content["figures"] == [
        {"name": "gain", "value": 0.5, "interval": [0.5, 0.5], "bar": "+0.12 or more, lower end above 0", "met": True}
    ]
    assert figures_again(tmp_path / "one.json") == [figure] and figure.value == 0.5


def test_a_seed_is_measured_later_beside_those_that_are_in_the_file(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "claim_of", lambda name: claim_in("xli", seen, curve_arms=("curve",)))
    measure_claim("one", [0], tmp_path / "one.json", tmp_path / "runs")
    measure_claim("one", [2, 1], tmp_path / "one.json", tmp_path / "runs")
    measure_claim("whole", [0, 1, 2], tmp_path / "whole.json", tmp_path / "runs")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    content = json.loads((tmp_path / "one.json").read_text())
    assert content["seeds"] == [0, 1, 2] and list(content["settings"]) == ["train.yaml"]
    assert {row.seed for row in read_rows(tmp_path / "one.parquet") if row.arm == "curve"} == {0}


def test_a_share_of_nothing_was_written_as_NaN_which_is_no_json(tmp_path, monkeypatch):
    claim = claim_in("xli", [])
    monkeypatch.setattr(
        module, "claim_of", lambda name: replace(claim, figures=lambda rows: [Figure("share", nan, None, "", None)])
    )
    measure_claim("one", [0], tmp_path / "one.json", tmp_path / "runs")
    (figure,) = json.loads((tmp_path / "one.json").read_text(), parse_constant=pytest.fail)["figures"]
    assert figure["value"] is None


def test_seeds_that_were_measured_with_other_settings_are_not_mixed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "claim_of", lambda name: claim_in("xli", [], text="weight: 1"))
    measure_claim("one", [0], tmp_path / "one.json", tmp_path / "runs")
    kept = (tmp_path / "one.json").read_bytes()
    monkeypatch.setattr(module, "claim_of", lambda name: claim_in("xli", [], text="weight: 2"))
    with pytest.raises(UserError, match=r"train\.yaml is not what other seeds of the file were measured with: name"):
        measure_claim("one", [1], tmp_path / "one.json", tmp_path / "runs")
    with pytest.raises(UserError, match=r"holds seeds \[0\] of one, measured otherwise: name another file"):
        measure_claim("two", [1], tmp_path / "one.json", tmp_path / "runs")
    assert (tmp_path / "one.json").read_bytes() == kept
    assert not list(tmp_path.glob("runs/xli/seed1/stages/*")), "refused before its first stage"
    measure_claim("one", [0], tmp_path / "one.json", tmp_path / "runs2")
    assert json.loads((tmp_path / "one.json").read_text())["seeds"] == [0]


@pytest.mark.parametrize(
    ("name", "seeds", "output", "says"),
    [
        ("xli", [0], "a.json", "there is no claim 'xli'"),
        ("xli_cross", [0, 0], "a.json", "give different whole numbers"),
        ("xli_cross", [-1], "a.json", "give different whole numbers"),
        ("xli_cross", [0], "a.txt", "name a .json file"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_made(tmp_path, name, seeds, output, says):
    with pytest.raises(UserError, match=says):
        measure_claim(name, seeds, tmp_path / output, tmp_path / "runs")
    assert not list(tmp_path.iterdir())
