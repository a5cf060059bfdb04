"""Measuring claims: worlds of their own, files from which the figures come again, seeds that are told apart."""

from __future__ import annotations

import json

import pytest

from cslm.benchmarks.claims import measure_claim as module
from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.claims import CLAIMS, claim_of
from cslm.benchmarks.claims.figures import gain_figure
from cslm.benchmarks.claims.measure_claim import figures_again, measure_claim
from cslm.benchmarks.claims.rows import Row
from cslm.errors import UserError


def claim_in(world, seen):
    """A claim whose baseline gets every other item right, and whose method gets all."""

    def measure(stages, seed, arms):
        seen.append(stages.folder)
        for arm, step in (("baseline", 2), ("method", 1)):
            yield from (Row(arm, seed, f"story/{item}", "accuracy", float(item % step == 0)) for item in range(20))

    return Claim(
        world, "A method against a baseline.", ("baseline", "method"), measure,
        lambda rows: [gain_figure("gain", rows, "accuracy", "method", "baseline", 0.12)],
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
