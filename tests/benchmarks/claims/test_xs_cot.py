"""The claims of XS-CoT: every arm from one pre-trained model, accuracy by facts, delay by tokens, a ceiling in text."""

from __future__ import annotations

import json

import pytest

from cslm.benchmarks.claims import xs_cot as module
from cslm.benchmarks.claims.figures import Rows
from cslm.benchmarks.claims.xs_cot import DELAY, GAIN, LITTLE_DATA, write_tenth
from cslm.files.json_lines import write_json_lines

LANGUAGES = ("fr", "de", "ja")
PEOPLE = 25
ARMS = {
    "direct": (2, 0),
    "transcript_then_answer": (3, 12),
    "xs_cot": (4, 30),
    "compressed": (4, 9),
    "less_compressed": (4, 18),
    "removed": (2, 0),
    "xs_cot_tenth": (3, 30),
}
"""of five people, for how many the answer is right, and after how many tokens it begins"""


@pytest.fixture
def scored(stages, monkeypatch):
    """Direct: 2 of 5 right; transcript: 3; the chain: 4, after 30 tokens; compressed: as many, after 9."""
    tests, replies = [], {}
    for code in LANGUAGES:
        for number in range(PEOPLE * 4):
            about = f"Mira{number // 4}, job"
            tests.append({"id": f"{code}-{number}", "about": about, "answer_language": code, "core_language": "en",
                          "question_text": "Mira, job?",
                          "core_question": f"What does Mira{number // 4} do?", "core_fact": ["baker"],
                          "core_wrong_facts": ["smith"]})  # fmt: skip
            for arm, (share, delay) in ARMS.items():
                answer = "boulanger" if number // 4 % 5 < share else "forgeron"
                replies.setdefault(arm, []).append(
                    {"id": f"{code}-{number}", "answer_language": code, "answer": answer, "fact": ["boulanger"],
                     "wrong_facts": ["forgeron"], "token_delay": delay if number else None,
                     "texts": {"question_text": "Mira, job?" if number % 4 else "Nina, job?"} if number > 3 else {}}
                )  # fmt: skip
    monkeypatch.setattr(module, "shortest_delays", lambda checkpoint, settings, dialogues: [6] * len(dialogues))
    (stages.folder / "corpus").mkdir(parents=True)
    chains = [{"id": f"{code}-{number}", "question_language": code} for code in LANGUAGES for number in range(40)]
    write_json_lines(chains, stages.folder / "corpus" / "chains.jsonl")
    write_json_lines(tests, stages.folder / "corpus" / "core_test_dialogues.jsonl")
    answers = [[f"What does Mira{number} do?", "en", "a baker"] for number in range(PEOPLE)]
    (stages.folder / "text_answers.json").write_text(json.dumps(answers))
    for arm, rows in replies.items():
        (stages.folder / f"{arm}_score").mkdir()
        write_json_lines(rows, stages.folder / f"{arm}_score" / "replies.jsonl")
    return stages


def figures_of(claim, stages):
    return {
        figure.name: figure for figure in claim.figures(Rows(claim.measure(stages, 7, claim.arms + claim.curve_arms)))
    }


def test_gains_are_relative_and_stand_beside_the_ceiling(scored):
    found = figures_of(GAIN, scored)
    for code in LANGUAGES:
        gain = found[f"{code}: explicit against direct, relative"]
        assert gain.value == pytest.approx(1.0) and gain.met is True
        assert found[f"{code}: explicit - transcript then answer"].value == pytest.approx(0.2)
        assert found[f"english text, {code}, accuracy"].value == 1.0
        assert found[f"{code}: share of the gap to English text that is closed"].value == pytest.approx(0.4 / 0.6)


def test_what_the_explicit_chain_heard_stands_beside_what_it_answers(scored):
    """One of four questions is misheard, and of the first four none was written down."""
    heard = (PEOPLE - 1) * 3 / (PEOPLE * 4)
    assert figures_of(GAIN, scored)["xs_cot, ja, transcript right"].value == pytest.approx(heard)


def test_questions_about_one_fact_are_drawn_together(scored):
    rows = [row for row in GAIN.measure(scored, 7, GAIN.arms) if row.metric == "accuracy fr" and row.arm == "direct"]
    assert len({row.cluster for row in rows}) == PEOPLE and len(rows) == 4 * PEOPLE


def test_an_answer_that_never_came_has_no_delay(scored):
    found = figures_of(DELAY, scored)
    for code in LANGUAGES:
        saved = found[f"{code}: token delay, relative"]
        assert saved.value == pytest.approx(-0.7) and saved.met is True
        assert found[f"{code}: token delay, relative, of the floor"].value == pytest.approx(-0.8)
        assert found[f"{code}: accuracy, relative to explicit"].value == 0
    assert len(Rows(DELAY.measure(scored, 7, DELAY.arms)).of("token_delay fr", "xs_cot")) == 4 * PEOPLE - 1


def test_all_arms_start_from_one_model_and_read_as_many_tokens(scored):
    list(GAIN.measure(scored, 7, GAIN.arms))
    list(DELAY.measure(scored, 7, DELAY.arms + DELAY.curve_arms))
    list(LITTLE_DATA.measure(scored, 7, LITTLE_DATA.arms))
    assert scored.told["text_lm"][0] == scored.told["pretrain"][0] == "pretrain"
    commands = [scored.told[arm][1] for arm in ARMS]
    shared = [part for part in commands[0] if "train.yaml" in part]
    assert len(shared) == 1 and all(shared[0] in command for command in commands)
    assert all("max_tokens" not in part for command in commands for part in command)


def test_the_curve_is_drawn_on_the_first_seed_alone():
    assert set(DELAY.curve_arms) == {"less_compressed", "removed"} and not set(DELAY.curve_arms) & set(DELAY.arms)


def test_a_tenth_of_the_pairs_of_each_language_is_drawn_by_the_seed(scored):
    found = figures_of(LITTLE_DATA, scored)
    assert found["ja: explicit with a tenth - direct with all"].value == pytest.approx(0.2)
    tenth = scored.folder / "corpus" / "chains_tenth.jsonl"
    kept = [line["question_language"] for line in map(json.loads, tenth.read_text().splitlines())]
    assert kept == ["fr"] * 4 + ["de"] * 4 + ["ja"] * 4
    before = tenth.read_bytes()
    write_tenth(scored, 7)
    assert tenth.read_bytes() == before
    write_tenth(scored, 8)
    assert tenth.read_bytes() != before
