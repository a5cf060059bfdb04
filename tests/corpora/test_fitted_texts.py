"""What a text tokenizer is fitted on; what cannot be read is named by file and line."""

from __future__ import annotations

import gzip
import json

import pytest

from cslm.corpora.fitted_texts import fitted_texts
from cslm.errors import UserError

ROWS = [
    {"text": "One."},
    {"source": "Two.", "target": "Zwei."},
    {"messages": [{"role": "user", "content": "Three?"}, {"role": "assistant", "content": None}]},
    {"conversations": [{"from": "human", "value": "Four?"}]},
    {"text": 5},
]


def test_fields_messages_and_lines(tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.txt").write_text("Five.\nSix.")
    texts = ["One.", "Two.", "Zwei.", "Three?", "Four?"]
    assert list(fitted_texts([tmp_path / "a.jsonl"])) == list(fitted_texts([tmp_path / "b.jsonl.gz"])) == texts
    assert list(fitted_texts([tmp_path / "c.txt"])) == ["Five.", "Six."]


def test_what_a_chain_says_in_its_core_language_was_not_fitted_on(tmp_path):
    four = {"question_text": "Wo?", "core_question": "Where?", "core_answer": "There.", "answer_text": "Da."}
    (tmp_path / "chains.jsonl").write_text(json.dumps({"id": "a", "core_language": "en", **four}) + "\n")
    assert list(fitted_texts([tmp_path / "chains.jsonl"])) == ["Wo?", "Where?", "There.", "Da."]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "\\ud83d"}\n', "line 2: half of a Unicode character"),
        ("a.jsonl", b'{"text": "a"}\nb\n', "line 2: not JSON"),
        ("a.txt", b"a\n\xe9t\xe9\n", "line 2: not UTF-8"),
    ],
)
def test_a_tokenizer_fitted_on_a_bad_line_was_a_traceback(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        list(fitted_texts([tmp_path / name]))
