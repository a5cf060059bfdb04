"""Translations that are there already, in a table of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cslm.corpora.languages import language_tag
from cslm.corpora.table_rows import read_rows
from cslm.corpora.text_documents import sha256_of
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.synthesis.failure import Failure
from cslm.synthesis.translator_config import TableTranslatorConfig

_DELIMITERS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
_OF_A_PAIR = ("source_language", "target_language", "source", "target")


class TableTranslator:
    """Looks texts up as they stand in the table, but for spaces at their ends and how many stand in a row."""

    def __init__(self, config: TableTranslatorConfig) -> None:
        """Read the table.

        Raises:
            UserError: no such table, or rows that are none of the layouts.
        """
        self._path = Path(config.path)
        if not self._path.is_file():
            raise UserError(f"{self._path}: no such table of translations; correct --translator.table.path")
        self._pairs: dict[tuple[str, str], dict[str, str]] = {}
        num_doubled = 0
        for texts in _rows(self._path):
            for source, text in texts.items():
                for target, other in texts.items():
                    if source != target and text and other:
                        known = self._pairs.setdefault((source, target), {})
                        num_doubled += known.setdefault(text, other) != other
        if num_doubled:
            print(f"{self._path}: {num_doubled} texts stand there with further translations; the first ones are used")

    def facts(self, source: str, target: str) -> dict[str, Any]:
        """The table's content.

        Raises:
            UserError: it has no pair of the two languages.
        """
        self._known(source, target)
        return {"translator": "table", "sha256": sha256_of(self._path)}

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | Failure]:
        """What the table says.

        Raises:
            UserError: it has no pair of the two languages.
        """
        known = self._known(source, target)
        return [known.get(_spaced(text)) or Failure("stands not in the table of translations") for text in texts]

    def _known(self, source: str, target: str) -> dict[str, str]:
        pair = (language_tag(source), language_tag(target))
        if pair not in self._pairs:
            found = ", ".join(sorted(f"{one}-{other}" for one, other in self._pairs)) or "nothing"
            raise UserError(f"{self._path}: has no pairs from {source} into {target}; it has {found}")
        return self._pairs[pair]


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The texts of each row by language."""
    suffix = (Path(path.stem) if path.suffix == ".gz" else path).suffix.lower()
    if suffix in (".jsonl", ".json"):
        for number, record in read_json_lines(path):
            yield _of_record(record, f"{path}, line {number}")
        return
    if suffix not in _DELIMITERS:
        raise UserError(f"{path}: a table of translations ends in .tsv, .csv or .jsonl, gzipped or not")
    rows = read_rows(path, _DELIMITERS[suffix], "auto", [])
    languages = [_language(cell, f"{path}, line 1") for cell in next(rows, (0, list[str]()))[1]]
    for number, cells in rows:
        if len(cells) != len(languages):
            raise UserError(f"{path}, line {number}: has {len(cells)} columns, the header {len(languages)}")
        yield {language: _spaced(cell) for language, cell in zip(languages, cells, strict=True)}


def _of_record(record: Mapping[str, Any], where: str) -> dict[str, str]:
    if all(name in record for name in _OF_A_PAIR):
        record = {record["source_language"]: record["source"], record["target_language"]: record["target"]}
    texts = {_language(name, where): text for name, text in record.items() if name != "id"}
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts.values()):
        raise UserError(f"{where}: is no pair of texts: keys are languages, as en and fr, or {', '.join(_OF_A_PAIR)}")
    return {language: _spaced(text) for language, text in texts.items()}


def _language(said: Any, where: str) -> str:
    try:
        return language_tag(str(said))
    except UserError as error:
        raise UserError(f"{where}: {error}; a table of translations names languages") from None
