"""Sentences translated one by one: kept as records, and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cslm.synthesis.failure import Failure
from cslm.synthesis.made_records import MadeRecords, Row
from cslm.synthesis.translation_filters import TranslationFilters, fault_of
from cslm.synthesis.translators import Translator


def translated(
    texts: Sequence[str],
    source: str,
    target: str,
    translator: Translator,
    filters: TranslationFilters,
    records: MadeRecords,
) -> list[str | Failure]:
    """The translation of each text, or why it has none. Equal texts are translated once.

    Args:
        texts: what one record holds: a kill costs no more than these.
        source: BCP 47 language of the texts.
        target: BCP 47 language that is wanted.
        translator: translates them.
        filters: which translations are none; they may change without translating again.
        records: where translations are kept.

    Raises:
        UserError: the translator cannot be used at all, or does not translate between the two.
    """
    different = list(dict.fromkeys(texts))
    facts = translator.facts(source, target)
    decided_by: dict[str, Any] = {"what": "translations", "translator": facts, "texts": different}
    decided_by |= {"source": source, "target": target}

    def make() -> list[Row]:
        return [_row_of(one) for one in translator.translate(different, source, target)]

    found = dict(zip(different, records.rows(decided_by, make), strict=True))
    return [_kept(found[text], text, source, target, filters) for text in texts]


def _row_of(made: str | Failure) -> Row:
    return {"reason": made.reason} if isinstance(made, Failure) else {"text": " ".join(made.split())}


def _kept(row: Row, text: str, source: str, target: str, filters: TranslationFilters) -> str | Failure:
    if "reason" in row:
        return Failure(row["reason"])
    fault = fault_of(row["text"], text, source, target, filters)
    return Failure(fault) if fault is not None else row["text"]
