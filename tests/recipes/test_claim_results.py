"""The published figures of the claims: each comes again from the rows beside it, and the page says the same."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path

import pytest

from cslm.benchmarks.claims.claims import CLAIMS, claim_of
from cslm.benchmarks.claims.measure_claim import figures_again
from cslm.benchmarks.claims.rows import MOST_BYTES

VILLAGE = Path(__file__).parents[2] / "recipes" / "village"
RESULTS = sorted((VILLAGE / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_published_figures_come_again_from_their_rows(path):
    content = json.loads(path.read_bytes())
    claim = claim_of(path.stem)
    assert content["claim"] == path.stem and content["arms"] == [*claim.arms, *claim.curve_arms]
    assert path.with_suffix(".parquet").stat().st_size <= MOST_BYTES
    again = [
        (figure.name, round(figure.value, 6) if isfinite(figure.value) else None, figure.bar, figure.met)
        for figure in figures_again(path)
    ]
    assert again == [(one["name"], one["value"], one["bar"], one["met"]) for one in content["figures"]]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_page_tells_every_figure_that_has_a_bar(path):
    page = (VILLAGE / "README.md").read_text(encoding="utf-8")
    content = json.loads(path.read_bytes())
    for figure in content["figures"]:
        if figure["met"] is not None and figure["value"] is not None:
            assert f"{100 * figure['value']:+.1f}" in page, f"{path.stem}: {figure['name']}"
    assert path.stem in CLAIMS and f"results/{path.name}" in page
