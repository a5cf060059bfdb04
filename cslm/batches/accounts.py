"""Tokens by language, and by stage of a training where it has several, each under a name: ``fr``, or ``2/fr``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def account_name(language: str, stage: int | None = None) -> str:
    """The account of a language, in a stage counted from 0 where there are several."""
    return language if stage is None else f"{stage + 1}/{language}"


def account_lines(accounts: Mapping[str, int]) -> Iterator[str]:
    """One line for each stage, and one for all: tokens by language, and their shares."""
    stages: dict[str, dict[str, int]] = {}
    whole: dict[str, int] = {}
    for name, tokens in sorted(accounts.items()):
        stage, _, language = name.rpartition("/")
        stages.setdefault(stage, {})[language] = tokens
        whole[language] = whole.get(language, 0) + tokens
    if len(stages) > 1:
        yield from (f"tokens of stage {stage}: {_told(stages[stage])}" for stage in sorted(stages, key=int))
    if whole:
        yield f"tokens of all: {_told(whole)}"


def _told(by_language: Mapping[str, int]) -> str:
    total = max(1, sum(by_language.values()))
    parts = [f"{language or 'no language'} {count:,} ({count / total:.1%})" for language, count in by_language.items()]
    return f"{total:,}; {', '.join(parts)}"
