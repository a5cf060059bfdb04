"""The tiny world with chains through English: Chinese questions, whose answers are not spoken."""

from __future__ import annotations

import json
from pathlib import Path

from tests.worlds.tiny_world import make_world


def make_chains(root: Path) -> Path:
    """Write the world, and ``corpus/chains.jsonl`` over its store."""
    make_world(root)
    texts = [json.loads(line) for line in (root / "texts.jsonl").read_text("utf-8").splitlines()]
    chinese, english = ([row for row in texts if row["language"] == it] for it in ("zh", "en"))
    documents = [
        {
            "id": f"chain-{number}",
            "question": asked["id"],
            "question_language": "zh",
            "question_text": asked["text"],
            "core_language": "en",
            "core_question": f"{english[number]['text']} {english[number - 1]['text']}?",
            "core_answer": f"{english[number - 2]['text']} is so. {english[number - 3]['text']} is not.",
            "answer_language": "zh",
            "answer_text": chinese[number - 1]["text"],
        }
        for number, asked in enumerate(chinese)
    ]
    (root / "corpus").mkdir()
    lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    (root / "corpus" / "chains.jsonl").write_text(lines, encoding="utf-8")
    return root
