"""The figures of LAD: answers to spoken questions, languages that are heard, the distance of the vectors; from rows."""

from __future__ import annotations

from cslm.benchmarks.claims.figures import Figure, Rows, closed_figure, difference, mean, relative_gain_figure, shown
from cslm.benchmarks.claims.prompt_world import CASCADE, LANGUAGES, TEXT_ONLY

BANK, STATIC, STATIC_LARGE, RANDOM, GIVEN = "bank", "static", "static_large", "random", "given"
ALONE = {code: f"alone_{code}" for code in LANGUAGES}
"""the static sequence that learns one language alone, by its language"""
GATES = (BANK, "soft", "attention", "attention_soft")
QUERIES = {"queries_16": 16, "queries_24": 24, BANK: 32, "queries_48": 48}
"""arms by the number of their queries, the fewest first"""
HEARD_VOICES, UNHEARD_VOICES, DISTANCE = "language", "language, unheard voice", "input distillation"
HEARD_AS, SWITCHED, TABLE = " heard as ", "switched speech: one of both languages", "all/table"
"""what the metrics of the gate's table are called, and the item that all of it is"""
_PAPER = 0.14
_CLOSED = "share of the gap from static to text only that the bank closes"


def bank_figures(rows: Rows) -> list[Figure]:
    """The bank against the static sequence, and against one of as many queries as all languages have."""
    name = "all languages: bank against static, relative"
    figures = [relative_gain_figure(name, rows, "accuracy", BANK, STATIC, _PAPER)]
    gain = difference(rows, "accuracy", BANK, STATIC_LARGE)
    met = gain.low > 0 and gain.signs_agree
    name = "all languages: bank - static of as many queries in all"
    figures.append(Figure(name, gain.value, (gain.low, gain.high), "lower end above 0", met))
    name = f"all languages: {_CLOSED}"
    figures.append(closed_figure(name, rows, "accuracy", BANK, STATIC, TEXT_ONLY))
    for code in LANGUAGES:
        figures.append(shown(f"{code}: bank - static", difference(rows, f"accuracy {code}", BANK, STATIC)))
        name = f"{code}: {_CLOSED}"
        figures.append(closed_figure(name, rows, f"accuracy {code}", BANK, STATIC, TEXT_ONLY))
    return figures + _accuracies(rows, (STATIC, STATIC_LARGE, BANK, RANDOM, GIVEN, TEXT_ONLY, CASCADE))


def interference_figures(rows: Rows) -> list[Figure]:
    """What the static sequence loses against one for a language alone, and what the bank wins back of it."""
    figures, lost, won = list[Figure](), 0.0, 0.0
    for code, alone in ALONE.items():
        loss = difference(rows, f"accuracy {code}", alone, STATIC)
        gain = difference(rows, f"accuracy {code}", BANK, STATIC)
        figures.append(shown(f"{code}: alone - static", loss))
        figures.append(shown(f"{code}: bank - static", gain))
        name = f"{code}: {_CLOSED}"
        figures.append(closed_figure(name, rows, f"accuracy {code}", BANK, STATIC, TEXT_ONLY))
        lost, won = lost + loss.value / len(ALONE), won + gain.value / len(ALONE)
    share = won / lost if lost > 0 else float("nan")
    figures = [
        Figure("mean over languages: alone - static", lost, None, "above 0", lost > 0),
        Figure("share of it that the bank wins back", share, None, "", None),
        *figures,
    ]
    figures += [
        shown(f"{alone}, accuracy {code}", mean(rows, f"accuracy {code}", alone)) for code, alone in ALONE.items()
    ]
    return figures + _accuracies(rows, (STATIC, BANK, TEXT_ONLY))


def gate_figures(rows: Rows) -> list[Figure]:
    """How often each gate hears the language, and the answers behind it."""
    figures = []
    for arm in GATES:
        found = mean(rows, HEARD_VOICES, arm)
        met = found.value >= 0.98
        figures.append(Figure(f"{arm}: language heard", found.value, (found.low, found.high), "0.98 or more", met))
        figures.append(shown(f"{arm}: language heard, voices never heard", mean(rows, UNHEARD_VOICES, arm)))
    for arm in GATES:
        shares = {metric: mean(rows, metric, arm).value for metric in rows.metrics(arm, TABLE)}
        figures += [
            Figure(f"{arm}: {metric}", share, None, "", None)
            for metric, share in shares.items()
            if share > 0 or HEARD_AS not in metric
        ]
    return figures + _accuracies(rows, (*GATES, TEXT_ONLY))


def queries_figures(rows: Rows) -> list[Figure]:
    """The distance of the vectors to the embeddings of the same transcripts, by the number of queries."""
    fewest, most = next(iter(QUERIES)), next(reversed(QUERIES))
    less, first = difference(rows, DISTANCE, most, fewest), mean(rows, DISTANCE, fewest).value
    name = f"input distillation, {QUERIES[most]} queries against {QUERIES[fewest]}, relative"
    met = less.high < 0 and less.signs_agree
    figures = [Figure(name, less.value / first, (less.low / first, less.high / first), "upper end below 0", met)]
    return figures + [
        shown(f"{count} queries, input distillation", mean(rows, DISTANCE, arm)) for arm, count in QUERIES.items()
    ]


def _accuracies(rows: Rows, arms: tuple[str, ...]) -> list[Figure]:
    return [
        shown(f"{arm}, {metric}", mean(rows, metric, arm))
        for arm in arms
        for metric in ("accuracy", *(f"accuracy {code}" for code in LANGUAGES))
        if rows.has(metric, arm)
    ]
