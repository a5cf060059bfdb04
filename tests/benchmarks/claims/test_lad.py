"""The claims of LAD: arms hear as many recordings in as many steps, and figures follow from the files of scores."""

from __future__ import annotations

import json

import pytest

from cslm.benchmarks.claims import lad as module
from cslm.benchmarks.claims import prompt_world
from cslm.benchmarks.claims.figures import Rows
from cslm.benchmarks.claims.lad import BANK_CLAIM, GATE, INTERFERENCE, QUERIES_CLAIM
from cslm.benchmarks.claims.lad_figures import ALONE, QUERIES
from cslm.benchmarks.claims.prompt_world import LANGUAGES
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.files.json_lines import write_json_lines

PEOPLE = 40
RIGHT = {"static": 20, "static_large": 24, "bank": 28, "random": 8, "given": 30, "soft": 26, "attention": 28,
         "attention_soft": 26, **dict.fromkeys(ALONE.values(), 36)}  # fmt: skip
"""about how many of the people questions are answered rightly, in every language"""
HEARD = {"bank": 99, "soft": 97, "attention": 98, "attention_soft": 100}
"""of a hundred recordings of each language"""
DISTANCES = {"queries_16": 4.0, "queries_24": 2.0, "bank": 1.0, "queries_48": 0.5}
"""of transcripts of at most 16 ids"""


@pytest.fixture(autouse=True)
def no_documents(monkeypatch):
    """Nothing is written beside a corpus that is not there."""
    monkeypatch.setattr(prompt_world, "write_prompt_documents", lambda *given: None)
    monkeypatch.setattr(module, "write_unseen_language", lambda corpus, seed: corpus / "unseen.jsonl")


@pytest.fixture
def scored(stages):
    """Two questions about each person in each language."""
    tests, utterances = [], []
    for code in LANGUAGES:
        for number in range(2 * PEOPLE):
            fact = [f"Mira{number // 2}x", "baker"]
            tests.append({"id": f"{code}-{number}", "question": f"q-{code}-{number}", "about": f"{number // 2:02d} job",
                          "question_language": code, "answer_language": code, "question_text": f"asked {number}",
                          "fact": fact, "wrong_facts": ["smith"]})  # fmt: skip
            utterances.append(Utterance(f"q-{code}-{number}", "q.wav", f"asked {number}", code))
    corpus = stages.folder / "corpus"
    corpus.mkdir(parents=True)
    write_manifest(utterances, corpus / "dialogue_test.jsonl")
    write_json_lines(tests, corpus / "spoken_questions.jsonl")
    for arm, right in RIGHT.items():
        (stages.folder / f"{arm}_lad_score").mkdir()
        lines = [{**row, "answer": answer_to(row, right)} for row in tests]
        write_json_lines(lines, stages.folder / f"{arm}_lad_score" / "spoken_questions.jsonl")
    for arm, hits in HEARD.items():
        confusion = {code: dict.fromkeys(LANGUAGES, 0) | {code: hits, next_to(code): 100 - hits} for code in LANGUAGES}
        by_length = {"1 to 2 s": {"accuracy": 0.75, "confusion": {"fr": {"fr": 3, "de": 1}}}}
        switched = {"de+fr": {"de": 2, "fr": 1, "ja": 1}}
        report = {"confusion": confusion | switched, "by_length": by_length, "switched": {"one_of_both": 0.75}}
        (stages.folder / f"{arm}_gate.json").write_text(json.dumps(report))
        unheard = {code: dict.fromkeys(LANGUAGES, 0) | {code: 3, next_to(code): 1} for code in LANGUAGES}
        unheard["es"] = {"fr": 30, "en": 20}
        (stages.folder / f"{arm}_gate_unheard.json").write_text(json.dumps({"confusion": unheard}))
    for arm, distance in DISTANCES.items():
        found = {f"{code}-{number}": distance + number for code in LANGUAGES for number in range(3)}
        (stages.folder / f"{arm}_distances.json").write_text(json.dumps(found))
    keep(stages, "text_only_answers", [[t["question_text"], t["question_language"], answer_to(t, 40)] for t in tests])
    keep(stages, "heard_questions", [[t["question"], t["question_language"], f"heard {t['id']}"] for t in tests])
    keep(stages, "cascade_answers", [[f"heard {t['id']}", t["question_language"], answer_to(t, 32)] for t in tests])
    return stages


def answer_to(row, right):
    return f"{row['fact'][0]} is a {'baker' if int(row['about'][:2]) < right else 'smith'}"


def next_to(code):
    return LANGUAGES[LANGUAGES.index(code) - 1]


def keep(stages, name, rows):
    (stages.folder / f"{name}.json").write_text(json.dumps(rows))


def figures_of(claim, stages):
    rows = Rows(claim.measure(stages, 7, claim.arms + claim.curve_arms))
    return {figure.name: figure for figure in claim.figures(rows)}


def test_the_bank_is_held_against_both_static_sequences(scored):
    found = figures_of(BANK_CLAIM, scored)
    gain = found["all languages: bank against static, relative"]
    assert gain.value == pytest.approx(28 / 20 - 1) and gain.met is True and gain.interval[0] > 0
    assert gain.bar == "+14% or more of the baseline, and 10 points, lower end above 0"
    closed = "share of the gap from static to text only that the bank closes"
    assert [found[f"{of}: {closed}"].value for of in ("all languages", "ja")] == [pytest.approx(8 / 20)] * 2
    larger = found["all languages: bank - static of as many queries in all"]
    assert larger.value == pytest.approx(0.1) and larger.met is True
    assert found["ja: bank - static"].value == pytest.approx(0.2)
    assert found["text only, accuracy"].value == 1.0 and found["cascade, accuracy zh"].value == pytest.approx(0.8)
    assert found["random, accuracy"].value == pytest.approx(0.2)
    assert found["given, accuracy"].value == pytest.approx(0.75)


def test_questions_about_one_fact_are_drawn_together_whatever_their_language(scored):
    rows = [row for row in BANK_CLAIM.measure(scored, 7, ("static",)) if row.metric == "accuracy"]
    assert len(rows) == 2 * PEOPLE * len(LANGUAGES) and len({row.cluster for row in rows}) == PEOPLE


def test_what_languages_cost_each_other_and_what_the_bank_wins_back(scored):
    found = figures_of(INTERFERENCE, scored)
    assert found["mean over languages: alone - static"].value == pytest.approx(0.4)
    assert found["share of it that the bank wins back"].value == pytest.approx(0.5)
    assert found["alone_de, accuracy de"].value == pytest.approx(0.9)
    assert found["text only, accuracy"].value == 1.0
    assert found["de: share of the gap from static to text only that the bank closes"].value == pytest.approx(0.4)


def test_a_gate_is_told_by_the_recordings_that_it_hears(scored):
    found = figures_of(GATE, scored)
    assert {arm: found[f"{arm}: language heard"].value for arm in HEARD} == {
        arm: pytest.approx(hits / 100) for arm, hits in HEARD.items()
    }
    assert [found[f"{arm}: language heard"].met for arm in HEARD] == [True, False, True, True]
    beside = found["bank: language heard, voices never heard"]
    assert beside.value == 0.75 and beside.met is None
    manifests = {name: scored.read[name].manifests for name in ("bank_gate", "bank_gate_unheard")}
    assert manifests["bank_gate_unheard"] == ["corpus/asr_unheard_voice.jsonl", "corpus/unseen.jsonl"]
    assert manifests["bank_gate"] == ["corpus/dialogue_test.jsonl", "corpus/asr_test.jsonl"], "and what is switched"
    assert scored.read["bank_gate"].switched == 100


def test_the_table_of_a_gate_has_lengths_a_language_never_learnt_and_switched_speech(scored):
    found = figures_of(GATE, scored)
    table = {
        "fr heard as fr": 0.99,
        "es heard as fr": 0.6,
        "es heard as en": 0.4,
        "language, 1 to 2 s": 0.75,
        "fr heard as de, 1 to 2 s": 0.25,
        "switched speech: one of both languages": 0.75,
    }
    assert {name: found[f"bank: {name}"].value for name in table} == pytest.approx(table)
    assert "bank: fr heard as ja" not in found, "what never happens"
    assert not [name for name in found if "de+fr" in name]
    heard = [row for row in GATE.measure(scored, 7, ("bank",)) if row.metric == "language"]
    assert len(heard) == 500, "of languages that were learnt"


def test_the_curve_over_queries_is_of_the_same_transcripts(scored):
    found = figures_of(QUERIES_CLAIM, scored)
    assert found["24 queries, input distillation"].value == 3.0
    relative = found["input distillation, 48 queries against 16, relative"]
    assert relative.value == pytest.approx(-0.7) and relative.interval[1] < 0 and relative.met is True


def test_all_arms_hear_as_many_recordings_in_as_many_steps(scored):
    """A recording takes as many tokens as there are queries, and two of the template."""
    for claim in (BANK_CLAIM, INTERFERENCE, GATE, QUERIES_CLAIM):
        list(claim.measure(scored, 7, claim.arms + claim.curve_arms))
    arms = {arm: scored.read[arm] for arm in {*RIGHT, *QUERIES}}
    assert {scored.told[name][0] for name in arms} == {"train-prompt"}
    for arm, config in arms.items():
        bank, training = config.connector.query_bank, config.training
        each = bank.num_queries * bank.blocks + 2
        assert training.tokens_per_step == training.tokens_per_micro_batch == 32 * each, arm
        assert training.max_tokens == 1200 * training.tokens_per_step, arm
        assert (bank.gate is None) == (arm.startswith(("static", "alone"))), arm
        with_gate = bank.gate is not None and bank.gate.network not in ("random", "given")
        assert (config.losses.language_identification is not None) == with_gate, arm
        weights = config.losses.input_distillation.weight, config.losses.output_distillation.weight
        assert weights == (10, 1), arm
        assert not config.encoder.whisper.whole_window and config.long_audio.most_sec == 6.0, arm
    assert scored.read["static_large"].connector.query_bank.blocks == len(LANGUAGES) == len(arms["bank"].languages)
    for code, arm in ALONE.items():
        sources = scored.read[arm].sources
        assert {name: it.languages for name, it in sources.items()} == {"lad": [code], "questions": [code]}
        assert {name: it.weight for name, it in sources.items()} == {"lad": 0.7, "questions": 0.3}


def test_encoder_and_language_model_are_made_before_any_arm_and_once(scored):
    list(BANK_CLAIM.measure(scored, 7, ("static",)))
    assert scored.seen == ["corpus", "recognizer", "frames", "text_lm", "states", "static", "static_lad_score"]
    frames, arm = scored.read["frames"], scored.read["static"]
    assert frames.encoder == arm.encoder and frames.long_audio == arm.long_audio
    assert scored.read["recognizer"].recognizer.whisper.window_sec == arm.long_audio.most_sec
