"""The claims of cross-lingual interleaving: arms share what they can, and figures follow from the files of scores."""

from __future__ import annotations

import pytest

from cslm.benchmarks.claims.figures import Rows
from cslm.benchmarks.claims.xli import ALIGNMENT, CROSS, MONO
from cslm.files.json_lines import write_json_lines

DIRECTIONS = ("en-fr", "fr-en", "en-en", "fr-fr")
NUM_STORIES, PER_STORY = 40, 5


def pair(kind, direction, number, is_right):
    """A line of pairs.jsonl whose right side is likelier, or not; the ending alone tells nothing."""
    near, far = {"nll": 10.0, "ids": 10}, {"nll": 20.0, "ids": 10}
    right, wrong = (near, far) if is_right else (far, near)
    row = {"set": "stories", "id": f"{direction}-{kind}-{number}", "kind": kind, "direction": direction,
           "document": f"story-{number // PER_STORY}"}  # fmt: skip
    sides = {"right": right, "wrong": wrong}
    return {**row, "whole": sides, "ending": sides, "ending_only": {"right": near, "wrong": near}}


@pytest.fixture
def scored(stages):
    """Interleaved: 80 % across, 90 % within; mixed: 50 % and 90 %; restored: 75 % and 90 %."""
    shares = {"mixed": (0.5, 0.9), "interleaved": (0.8, 0.9), "restored": (0.75, 0.9),
              "joined": (0.6, 0.7)}  # fmt: skip
    for arm, (across, within) in shares.items():
        share = {direction: across if direction in ("en-fr", "fr-en") else within for direction in DIRECTIONS}
        rows = [
            pair(kind, direction, number, kind == "topic" and number % 20 < 20 * share[direction])
            for kind in ("topic", "cloze")
            for direction in DIRECTIONS
            for number in range(NUM_STORIES * PER_STORY)
        ]
        (stages.folder / f"{arm}_pairs").mkdir(parents=True)
        write_json_lines(rows, stages.folder / f"{arm}_pairs" / "pairs.jsonl")
        (stages.folder / f"{arm}_alignment").mkdir()
        gap = 0.02 if arm == "mixed" else 0.1
        rows = [
            {"set": "stories", "languages": "en-fr", "group": f"g{number}", "document": f"story-{number // 3}",
             "parallel": [0.5, 0.5 + gap], "random": [0.5, 0.5]}
            for number in range(30)
        ]  # fmt: skip
        write_json_lines(rows, stages.folder / f"{arm}_alignment" / "alignment.jsonl")
    return stages


def figures_of(claim, stages):
    return {
        figure.name: figure for figure in claim.figures(Rows(claim.measure(stages, 7, claim.arms + claim.curve_arms)))
    }


def test_across_languages_topics_alone_count(scored):
    found = figures_of(CROSS, scored)
    for direction in ("en-fr", "fr-en"):
        gain = found[f"{direction}: interleaved - mixed"]
        assert gain.value == pytest.approx(0.3) and gain.met is True and gain.interval[0] > 0.12
        assert found[f"interleaved, {direction}, accuracy"].value == pytest.approx(0.8), "cloze pairs are another test"
        assert found[f"interleaved, {direction}, ending only"].value == 0.5
        assert found[f"joined, {direction}, accuracy"].value == pytest.approx(0.6)


def test_arms_share_corpus_card_and_units_and_nothing_is_made_for_one_alone(scored):
    list(CROSS.measure(scored, 7, CROSS.arms))
    assert scored.seen[:7] == ["corpus", "card", "units", "test_units", "mixed", "mixed_pairs", "interleaved"]
    assert scored.told["corpus"][1][-1] == scored.told["card"][1][-1] == scored.told["mixed"][1][-1] == "7"
    mixed, interleaved = (scored.told[arm][1] for arm in ("mixed", "interleaved"))
    different = [one for one in zip(mixed, interleaved, strict=True) if one[0] != one[1]]
    assert [tuple(part.split("/")[-1] for part in pair) for pair in different] == [
        ("mixed.yaml", "interleaved.yaml"), ("mixed", "interleaved"),
    ], "the arms learn as many tokens, with the same settings"  # fmt: skip


def test_what_a_last_stage_restores_and_keeps(scored):
    found = figures_of(MONO, scored)
    within = found["within a language: restored - mixed"]
    assert within.value == 0 and within.met is True and found["fr-fr: restored - mixed"].value == 0
    assert found["en-fr: share of the gain that is kept"].value == pytest.approx(0.25 / 0.3)
    assert found["en-fr: share of the gain that is kept"].met is True


def test_alignment_is_told_of_the_best_layer_and_of_all(scored):
    found = figures_of(ALIGNMENT, scored)
    best = found["parallel - random, interleaved, layer 1 (its best)"]
    assert best.value == pytest.approx(0.1) and best.met is True
    assert found["grown against mixed, mean over layers"].value == pytest.approx(0.04)


def test_endings_of_no_story_were_drawn_together_as_one(scored):
    rows = [
        {"set": "stories", "languages": "en-fr", "group": f"ending-{number}", "document": None,
         "parallel": [0.5], "random": [0.4]}
        for number in range(5)
    ]  # fmt: skip
    for arm in ("mixed", "interleaved"):
        write_json_lines(rows, scored.folder / f"{arm}_alignment" / "alignment.jsonl")
    assert len({row.cluster for row in ALIGNMENT.measure(scored, 7, ALIGNMENT.arms)}) == 5
