"""MLQA: questions about passages, the same in several languages (Lewis et al. 2020, arXiv 1910.07475)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.hugging_face import open_data_set
from cslm.corpora.languages import language_tag
from cslm.errors import UserError


@dataclass(frozen=True)
class PassageQuestion:
    """A question, and the passage that answers it."""

    id: str
    context: str
    question: str
    answers: tuple[str, ...]
    """words of the passage, at least one"""
    language: str


def read_mlqa(source: str, split: str, revision: str | None, language: str) -> Iterator[PassageQuestion]:
    """The questions of one language, about passages in the same one, in their order.

    Args:
        source: folder of the release (``test/test-context-de-question-de.json``, or these files themselves), or a hub
            id whose configurations are named ``mlqa.de.de``.
        split: ``test`` or ``dev`` (on the hub ``validation``).
        revision: of the hub's data set.
        language: tag.

    Raises:
        UserError: there are no such files or data set, or they are not laid out so.
    """
    folder = Path(source)
    if folder.is_dir():
        yield from _from_folder(folder, split, language)
        return
    rows = open_data_set(source, f"mlqa.{language}.{language}", "validation" if split == "dev" else split, revision)
    for row in rows:
        yield _question(row, row.get("context"), list((row.get("answers") or {}).get("text") or ()), language, source)


def _from_folder(folder: Path, split: str, language: str) -> Iterator[PassageQuestion]:
    name = f"{split}-context-{language}-question-{language}.json"
    found = next((path for path in (folder / name, folder / split / name) if path.is_file()), None)
    if found is None:
        raise UserError(f"{folder}: there is no {name}, nor {split}/{name}: give the folder of MLQA's release")
    try:
        articles = json.loads(found.read_text(encoding="utf-8"))["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for row in paragraph["qas"]:
                    answers = [answer["text"] for answer in row["answers"]]
                    yield _question(row, paragraph["context"], answers, language, str(found))
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{found} is not laid out as MLQA is ({type(error).__name__}: {error})") from None


def _question(row: dict[str, Any], context: Any, answers: list[Any], language: str, where: str) -> PassageQuestion:
    said = (row.get("id"), context, row.get("question"), *answers)
    if not answers or not all(isinstance(value, str) and value.strip() for value in said):
        raise UserError(f"{where}: the question {row.get('id')!r} lacks an id, a context, a question or an answer")
    return PassageQuestion(str(said[0]), str(said[1]), str(said[2]), tuple(answers), language_tag(language))
