"""What a voice cannot say is found by name; what it can is left as it is, but for marks that only a reader sees."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cslm.corpora.instruction_pairs import InstructionPair, InstructionPairsConfig, NoPair, read_instruction_pairs
from cslm.errors import UserError
from cslm.synthesis.cleaning import CLEANING_RULES, Cleaner, CleaningConfig, Refused, num_words
from cslm.synthesis.spoken_marks import spoken_text

QUESTION, ANSWER = "What can you tell me about Paris?", "It is the capital of France."


def cleaned(question=QUESTION, answer=ANSWER, about="", **options):
    return Cleaner(CleaningConfig(**options), "en").clean(InstructionPair("0", question, answer, about))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Use ```x``` for this and that.", "code"),
        ("Write <b>this</b> in bold letters.", "code"),
        ("You can call print(value) for this.", "code"),
        ("SELECT name FROM people WHERE age is ten", "code"),
        ("import numpy as np; # and go on", "code"),
        ("Look at https://example.com/a for more.", "address"),
        ("Write to anna@example.org, please, soon.", "address"),
        ("Go to www.example.net and look there.", "address"),
        ("| name | age |\n|---|---|\n| Anna | 7 |", "table"),
        ("name\tage\tplace of birth", "table"),
        ("Solve x + 3 for me, please.", "math"),
        ("The area is $\\pi r^2$ as you know.", "math"),
        ("When a = b then both are alike.", "math"),
        ("The root √2 is no fraction at all.", "math"),
        ("Fill in: the sky is ____ today.", "blank"),
        ("Dear [Name], thank you for coming.", "blank"),
        ("Describe what is in the following image.", "unseen"),
        ("See above for what I have said.", "unseen"),
        ("\n".join(f"- thing number {number}" for number in range(6)), "list"),
        ("Its number is 123456789 in the book.", "number"),
        ("That makes me very happy 😀 today.", "symbol"),
        ("One → two means that it goes on.", "symbol"),
        ("Say Здравствуйте when you meet them.", "script"),
    ],
)
def test_each_rule_finds_what_it_is_for(text, rule):
    for part in ("question", "answer"):
        found = cleaned(**{part: text})
        assert isinstance(found, Refused) and found.rule == rule, found
        assert f"in the {part}: " in found.reason and len(found.reason) < 120
    assert isinstance(cleaned(text, text, leave_out=[*CLEANING_RULES]), InstructionPair)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 to $10, about 20 % more than in 2019.",
        "Bring your friend(s) at 10:30 a.m. or so; they're welcome!",
        "It is open 24/7, from Monday to Friday (as ever).",
        "The well-known writer said: “Go on – don't stop…”",
        "Is an apple better than a pear, or is it not?",
        "Naïve cafés in Zürich sell crème brûlée.",
        "First boil the water, then add 200 g of rice and 3 eggs.",
    ],
)
def test_what_can_be_said_is_left_as_it_is(text):
    assert cleaned(text, text) == InstructionPair("0", text, text)


def test_marks_of_lists_and_emphasis_become_sentences():
    written = "# Plan\n\n1. **Boil** the water\n2) Add `salt`:\n   - _wait_ a minute\n\n> Serve it!\nDone"
    assert spoken_text(written) == "Plan. Boil the water. Add salt: wait a minute. Serve it! Done"
    assert spoken_text("snake_case_name and 2 * 3 * 4") == "snake_case_name and 2 * 3 * 4"
    assert spoken_text("- one\r\n- two\r\n") == "one. two"


@given(st.text(alphabet="ab.*_`#->1 \n\t\r", max_size=60))
def test_spoken_text_is_one_line_and_loses_no_letter(text):
    once = spoken_text(text)
    assert "\n" not in once and once == once.strip() and "  " not in once
    assert [letter for letter in once if letter in "ab"] == [letter for letter in text if letter in "ab"]


def test_a_pair_with_an_input_is_left_out_or_read_aloud():
    found = cleaned("Make this shorter.", about="It is a very long text.")
    assert isinstance(found, Refused) and found.rule == "input" and "a very long text" in found.reason
    found = cleaned("Make this shorter:", about="It is a very long text.", join_inputs=True)
    assert found == InstructionPair("0", "Make this shorter: It is a very long text.", ANSWER)


def test_a_question_is_asked_once():
    cleaner = Cleaner(CleaningConfig(), "en")
    first = InstructionPair("3", "What is a fox?", "An animal.")
    assert cleaner.clean(first) == first
    again = cleaner.clean(InstructionPair("9", "What is a Fox", "A red animal."))
    assert again == Refused("doubled", "the question was asked before, in 3")
    refused = cleaner.clean(InstructionPair("10", "What is a wolf?", ""))
    assert isinstance(refused, Refused)
    assert cleaner.clean(InstructionPair("11", "What is a wolf?", "An animal.")).id == "11"  # the other was no pair


def test_bounds_count_words_or_letters_where_no_spaces_are():
    assert num_words("What, then, is it?", "en") == 4 and num_words("これは、何。", "ja") == 4
    short, long = CleaningConfig(question_words=(4, 60)), CleaningConfig(question_words=(1, 3))
    pair = InstructionPair("0", "これは何", "はい")
    assert Cleaner(short, "ja").clean(pair) == pair
    assert Cleaner(long, "ja").clean(pair).reason == "too many words in the question: 4 of at most 3"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"leave_out": ["rhymes"]}, "no rule 'rhymes'; the rules are code, address"),
        ({"script": 1.5}, "cleaning.script is 1.5"),
        ({"list_items": -1}, "cleaning.list_items is -1"),
        ({"answer_words": (5, 2)}, "cleaning.answer_words is 5, 2"),
    ],
)
def test_settings_out_of_range_are_named(options, says):
    with pytest.raises(UserError, match=says):
        CleaningConfig(**options)


def rows(tmp_path, *records, **options):
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return list(read_instruction_pairs(InstructionPairsConfig(str(tmp_path / "pairs.jsonl"), **options)))


def test_rows_that_hold_no_pair_say_why(tmp_path):
    say = {"role": "user", "content": "Hello there."}
    found = rows(
        tmp_path,
        {"messages": [say, {"role": "assistant", "content": "Hi."}]},
        {"messages": [say, {"role": "assistant", "content": "Hi."}, say, {"role": "assistant", "content": "Yes?"}]},
        {"messages": [{"role": "system", "content": "Be kind."}, say, {"role": "assistant", "content": "Hi."}]},
        {"messages": [say]},
    )
    assert found[0] == InstructionPair("000000", "Hello there.", "Hi.")
    assert [one.reason for one in found[1:] if isinstance(one, NoPair)] == [
        "messages of user, assistant, user, assistant: one of the user and one of the assistant are a pair",
        "messages of system, user, assistant: one of the user and one of the assistant are a pair",
        "no message of the assistant",
    ]


def test_columns_have_the_names_that_are_given(tmp_path):
    named = {"instruction_column": "q", "output_column": "a", "input_column": "about"}
    found = rows(tmp_path, {"q": " Why? ", "a": "So.", "about": "<noinput>"}, {"q": "Why?", "a": None}, **named)
    assert found == [InstructionPair("000000", "Why?", "So."), InstructionPair("000001", "Why?", "")]
    assert rows(tmp_path, {"q": 7, "a": "So."}, **named) == [NoPair("000000", "its q is a int, not text")]


def test_a_file_that_is_no_list_of_objects_is_one_line(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"pairs\.jsonl, line 1: not JSON"):
        list(read_instruction_pairs(InstructionPairsConfig(str(tmp_path / "pairs.jsonl"))))
    (tmp_path / "pairs.jsonl").write_text("[{")
    with pytest.raises(UserError, match=r"pairs\.jsonl: cannot be read .*; a list of objects is wanted"):
        list(read_instruction_pairs(InstructionPairsConfig(str(tmp_path / "pairs.jsonl"))))
    (tmp_path / "pairs.csv").write_text("instruction,output\n")
    with pytest.raises(UserError, match=r"is read as \.json, \.jsonl or \.parquet"):
        list(read_instruction_pairs(InstructionPairsConfig(str(tmp_path / "pairs.csv"))))


@pytest.mark.parametrize("as_lines", [True, False])
def test_one_row_that_is_no_text_put_quotes_around_all_others(tmp_path, as_lines):
    rows = [{"instruction": "Who is there?", "input": "", "output": "Nobody."}]
    rows += [{"instruction": 5, "output": "x"}, {"instruction": "Half \ud83d?", "output": "x"}]
    name = "pairs.jsonl" if as_lines else "pairs.json"
    content = "\n".join(map(json.dumps, rows)) if as_lines else json.dumps([*rows, "x"], indent=1)
    (tmp_path / name).write_text(content)
    found = list(read_instruction_pairs(InstructionPairsConfig(str(tmp_path / name))))
    assert found[0] == InstructionPair("000000", "Who is there?", "Nobody.")
    reasons = ["its instruction is a int, not text", "holds half of a Unicode character (\\ud83d)"]
    reasons += [] if as_lines else ["is a str, not an object"]
    assert [one.reason for one in found[1:]] == reasons


def test_an_empty_file_of_pairs_was_a_traceback(tmp_path):
    (tmp_path / "pairs.json").write_text("\n")
    with pytest.raises(UserError, match="pairs.json: is empty; a list of objects is wanted"):
        list(read_instruction_pairs(InstructionPairsConfig(str(tmp_path / "pairs.json"))))


def test_a_text_of_another_language_is_told():
    pytest.importorskip("py3langid", reason="the extra langid is not installed")
    cleaner = Cleaner(CleaningConfig(identify=True), "en")
    german = "Bitte erzähl mir, was du über die Hauptstadt von Frankreich weißt."
    refused = Refused("language", "another language in the question: de")
    assert cleaner.clean(InstructionPair("0", german, ANSWER)) == refused
    assert isinstance(cleaner.clean(InstructionPair("1", QUESTION, ANSWER)), InstructionPair)
    assert isinstance(cleaned(german), InstructionPair)  # nobody asked to look
