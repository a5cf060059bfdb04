"""What became of the pairs, told once and kept in the corpus's card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Record = dict[str, Any]
_LONGEST_FACT = 80


def instruction_counts(num_read: int, num_pairs: int, rejected: Sequence[Record], rows: Mapping[str, Any]) -> Record:
    """How many rows were read, could be spoken, and are recordings, chains and tests of each language.

    Args:
        rejected: what was left out, each with its ``kind``.
        rows: the lines of each file of the corpus, by its name without suffix.
    """
    kinds = Counter(str(row["kind"]) for row in rejected)
    by_language: dict[str, Counter[str]] = {}
    for name in ("manifest", "test"):
        for row in rows[name]:
            counts = by_language.setdefault(row["language"], Counter())
            counts["recordings" if name == "manifest" else "test recordings"] += 1
    for name in ("chains", "test_dialogues"):
        for row in rows[name]:
            counts = by_language.setdefault(row["question_language"], Counter())
            counts["chains" if name == "chains" else "test dialogues"] += 1
    return {
        "rows": num_read,
        "pairs": num_pairs,
        "left_out": dict(sorted(kinds.items())),
        "languages": {language: dict(sorted(counts.items())) for language, counts in sorted(by_language.items())},
    }


def told_counts(counts: Mapping[str, Any]) -> str:
    """The counts as a few lines."""
    left_out = ", ".join(f"{kind} {count:,}" for kind, count in counts["left_out"].items()) or "nothing"
    lines = [f"{counts['rows']:,} rows, {counts['pairs']:,} pairs that can be spoken; left out: {left_out}"]
    for language, found in counts["languages"].items():
        lines.append(f"{language}: " + ", ".join(f"{count:,} {what}" for what, count in found.items()))
    return "\n".join(lines)


def made_by(facts: Mapping[str, Any]) -> Record:
    """Step to what did it, for the card of a data set: of each language what translates, speaks and hears."""
    steps: Record = {"pairs": _told(facts["pairs"])}
    for language, made in facts.items():
        if language == "pairs":
            continue
        steps[f"translation, {language}"] = _told(made["translator"])
        voices = list(made["voices"].values())
        steps[f"speech, {language}"] = f"{len(voices)} voices; {_told(voices[0])}"
        steps[f"hearing, {language}"] = "nothing" if made["listener"] is None else _told(made["listener"])
    return steps


def _told(facts: Mapping[str, Any]) -> str:
    plain = {
        key: str(value) for key, value in facts.items() if value is not None and not isinstance(value, dict | list)
    }
    return ", ".join(f"{key} {value}" for key, value in plain.items() if len(value) <= _LONGEST_FACT)
