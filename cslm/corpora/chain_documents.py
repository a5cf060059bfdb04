"""Documents of four texts, as chains through a core language read them: question and answer, each in two languages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FourTexts:
    """What one document says (XS-CoT's four segments), in the fields that its chains name."""

    question_language: str
    """of who asks, BCP 47"""
    question_text: str
    core_language: str
    core_question: str
    """the question in the core language"""
    core_answer: str
    answer_language: str
    answer_text: str


TEXTS = ("question_text", "core_question", "core_answer", "answer_text")
"""The four, in the order in which a chain says them."""


def chain_document(name: str, question: str, texts: FourTexts, answer: str | None = None) -> dict[str, Any]:
    """A line of ``chains.jsonl``.

    Args:
        name: the document's id.
        question: id of the utterance that asks.
        texts: what it says.
        answer: id of the utterance that answers, where the answer is spoken.
    """
    spoken = {} if answer is None else {"answer": answer}
    return {"id": name, "question": question, **spoken, **asdict(texts)}


def scored_document(chain: dict[str, Any]) -> dict[str, Any]:
    """A line of ``test_dialogues.jsonl``: a chain, with what scores compare a reply with."""
    return {
        "id": chain["id"],
        "direction": f"{chain['question_language']}-{chain['answer_language']}",
        **{key: value for key, value in chain.items() if key != "id"},
        "question_reference": chain["question_text"],
        "answer_reference": chain["answer_text"],
    }
