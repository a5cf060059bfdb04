"""XS-CoT on the speech prompt: figures of the answers of chains in words, and of the tokens before them."""

from __future__ import annotations

import json

import pytest

from cslm.benchmarks.claims import prompt_world
from cslm.benchmarks.claims.figures import Rows
from cslm.benchmarks.claims.prompt_world import lines_of
from cslm.benchmarks.claims.xs_cot_prompt import CHAIN
from cslm.files.json_lines import write_json_lines
from cslm.sequences.chains import chain_of
from cslm.sequences.text_tokenizer import train_text_tokenizer

LANGUAGES = ("zh", "fr", "de", "ja")
PEOPLE = 30
RIGHT = {"direct": 6, "transcript_then_answer": 12, "xs_cot": 24, "compressed": 24}
DELAY = {"direct": 0, "transcript_then_answer": 15, "xs_cot": 40, "compressed": 15}

CHAINS = [
    {"id": "fr-7", "kind": kind, "question_text": "Que fait Zoé ?", "core_question": "What does Zoe do?",
     "core_answer": "Zoe bakes.", "answer_text": "Zoé est boulangère.", "question_language": "fr",
     "core_language": "en", "answer_language": "fr"}
    for kind in ("shared", "core")
]  # fmt: skip


@pytest.fixture
def scored(stages, monkeypatch):
    """Direct: 6 of 30 people; transcript, then answer: 12; both chains: 24; in English text: 27."""
    monkeypatch.setattr(prompt_world, "write_prompt_documents", lambda *given: None)
    for arm, right in RIGHT.items():
        lines = []
        for code in LANGUAGES:
            for number in range(PEOPLE):
                name, value = f"Mira{number}x", "boulanger" if number < right else "forgeron"
                delay = None if number == 29 else DELAY[arm]  # that one has no answer
                lines.append({"id": f"{code}-{number}", "about": f"{name}, job", "answer_language": code,
                              "answer": f"{name} est {value}.", "token_delay": delay, "fact": [name, "boulanger"],
                              "wrong_facts": ["forgeron"]})  # fmt: skip
        (stages.folder / f"{arm}_chain_score").mkdir(parents=True)
        write_json_lines(lines, stages.folder / f"{arm}_chain_score" / "spoken_questions.jsonl")
    tests = [{"id": f"{code}-{number}", "about": f"Mira{number}x, job", "answer_language": code, "core_language": "en",
              "core_question": f"What does Mira{number}x do?", "core_fact": [f"Mira{number}x", "baker"],
              "core_wrong_facts": ["smith"]} for code in LANGUAGES for number in range(PEOPLE)]  # fmt: skip
    (stages.folder / "corpus").mkdir()
    write_json_lines(tests, stages.folder / "corpus" / "core_test_dialogues.jsonl")
    write_json_lines(CHAINS, stages.folder / "corpus" / "chains.jsonl")
    answers = [
        [test["core_question"], "en", answer_in_english(test, number % PEOPLE)] for number, test in enumerate(tests)
    ]
    (stages.folder / "english_answers.json").write_text(json.dumps(answers))
    return stages


def answer_in_english(test, number):
    return f"{test['core_fact'][0]} is a {'baker' if number < 27 else 'smith'}."


def test_the_figures_are_of_answers_and_of_what_stands_before_them(scored):
    rows = Rows(CHAIN.measure(scored, 7, CHAIN.arms))
    found = {figure.name: figure for figure in CHAIN.figures(rows)}
    for code in LANGUAGES:
        gain = found[f"{code}: explicit against direct, relative"]
        assert gain.value == pytest.approx(3.0) and gain.met is True
        above = found[f"{code}: explicit - transcript then answer"]
        assert above.value == pytest.approx(0.4) and above.met is True
        assert found[f"english text, accuracy {code}"].value == pytest.approx(0.9)
        assert found[f"{code}: share of the gap to English text that is closed"].value == pytest.approx(18 / 21)
        assert found[f"{code}: accuracy, relative to explicit"].value == 0
        assert len(rows.of(f"token_delay {code}", "direct")) == PEOPLE - 1
        saved = found[f"{code}: token delay, relative"]
        assert saved.value == pytest.approx(-0.625) and saved.met is True


def test_the_score_reads_the_answer_of_the_chain_that_the_arm_learnt(scored):
    list(CHAIN.measure(scored, 7, CHAIN.arms))
    orders = [scored.told[f"{arm}_chain_score"][1][-1] for arm in RIGHT]
    assert orders == ["direct", "transcript_then_answer_labels", "xs_cot_labels", "xs_cot_labels"]
    assert orders[1:] == [scored.read[arm].sources["questions"].order for arm in list(RIGHT)[1:]]


def test_a_label_is_one_token_as_a_marker_is(scored, tmp_path):
    """They were spelt in bytes: 30 of the 41 tokens of a shortened chain, which nothing could shorten."""
    list(CHAIN.measure(scored, 7, ("xs_cot",)))
    always = scored.read["chain_lm"].text_tokenizer.always
    labels = {it.before.strip() for order in ("xs_cot_labels", "direct") for it in chain_of(order).segments}
    assert labels - {""} == set(always) - {"..."}
    tokenizer = train_text_tokenizer(["What does Mira bake?", "Mira bakes bread."] * 9, 300, tmp_path / "text", always)
    ids = tokenizer.encode("Question: Mira...\nAnswer: bread.", add_special_tokens=False)
    assert {"Question:", "...", "Answer:"} <= set(tokenizer.convert_ids_to_tokens(ids))


def test_the_language_model_has_read_the_labels_before_it_is_frozen(scored):
    """Labels that it never read stayed unwritten, and without the ellipsis no chain was shortened.

    The rows of unread tokens in a frozen head are all the same.
    """
    list(CHAIN.measure(scored, 7, ("xs_cot",)))
    assert scored.seen.index("chain_lm") < scored.seen.index("xs_cot")
    (_, two), (_, four), (_, short) = [(line["id"], line["text"]) for line in lines_of(scored, "corpus/labelled.jsonl")]
    assert two == "Question: Que fait Zoé ?\nAnswer: Zoé est boulangère."
    assert four == (
        "Question: Que fait Zoé ?\nTranslation: What does Zoe do?\nThought: Zoe bakes.\nAnswer: Zoé est boulangère."
    )
    assert short == "Question: Que fait...\nTranslation: What does...\nThought: Zoe bakes.\nAnswer: Zoé est boulangère."
    assert scored.read["chain_lm"].model.base is None and scored.read["xs_cot"].model.base == "chain_lm"
    assert "text_lm" not in scored.seen
    assert scored.read["chain_lm"].sources["labelled"].documents == "corpus/labelled.jsonl"


def test_arms_learn_by_lora_from_the_same_documents_and_the_same_start(scored):
    list(CHAIN.measure(scored, 7, CHAIN.arms))
    arms = [scored.read[arm] for arm in RIGHT]
    aligned = scored.read["alignment"]
    assert aligned.start is None and {arm.start for arm in arms} == {aligned.output} == {"alignment"}
    assert scored.seen.count("alignment") == 1 and scored.seen.index("chain_lm") < scored.seen.index("alignment")
    assert all((arm.connector, arm.lora) == (aligned.connector, aligned.lora) for arm in arms)
    assert all(arm.lora is not None and arm.sources["questions"].documents == "corpus/chains.jsonl" for arm in arms)
    assert len({arm.training.max_tokens for arm in arms}) == 1
    orders = [arm.sources["questions"].order for arm in arms]
    assert orders[1:] == ["transcript_then_answer_labels", "xs_cot_labels", "xs_cot_labels"]
    assert [arm.sources["questions"].compression is not None for arm in arms] == [False, False, False, True]
