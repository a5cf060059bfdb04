"""The figures of XS-CoT: accuracy of arms, tokens before the answer, from rows alone."""

from __future__ import annotations

from cslm.benchmarks.claims.figures import (
    Figure,
    Rows,
    closed_figure,
    difference,
    kept_figure,
    mean,
    relative_gain_figure,
    saved_figure,
    shown,
)

LANGUAGES = ("fr", "de", "ja")
DIRECT, TRANSCRIPT, EXPLICIT, COMPRESSED, REMOVED = (
    "direct", "transcript_then_answer", "xs_cot", "compressed", "removed",
)  # fmt: skip
LESS_COMPRESSED = "less_compressed"
LITTLE = "xs_cot_tenth"
CEILING = "english text"
"""What the pre-trained model answers when it is asked in English text."""
HEARD = "transcript right"
"""Of the question, as the chain writes it down: what is misheard is lost for all that follows."""
FLOOR = "floor"
"""The true chain, shortened as far as k, m and the markers permit."""


def gain_figures(rows: Rows) -> list[Figure]:
    """The explicit chain against both baselines, and how far it goes towards the ceiling."""
    figures = []
    for code in LANGUAGES:
        metric = f"accuracy {code}"
        name = f"{code}: explicit against direct, relative"
        figures.append(relative_gain_figure(name, rows, metric, EXPLICIT, DIRECT, 0.45))
        figures.append(_above(f"{code}: explicit - transcript then answer", rows, metric, EXPLICIT, TRANSCRIPT))
        name = f"{code}: share of the gap to English text that is closed"
        figures.append(closed_figure(name, rows, metric, EXPLICIT, DIRECT, CEILING))
    heard = [shown(f"{EXPLICIT}, {code}, {HEARD}", mean(rows, f"{HEARD} {code}", EXPLICIT)) for code in LANGUAGES]
    return figures + heard + _accuracies(rows, (DIRECT, TRANSCRIPT, EXPLICIT, CEILING))


def delay_figures(rows: Rows) -> list[Figure]:
    """How much sooner the semi-implicit chain answers and what it loses; the floor, and the curve of delay."""
    figures = []
    for code in LANGUAGES:
        delay, accuracy = f"token_delay {code}", f"accuracy {code}"
        figures.append(saved_figure(f"{code}: token delay, relative", rows, delay, COMPRESSED, EXPLICIT, 0.6))
        floor = mean(rows, delay, FLOOR).value / mean(rows, delay, EXPLICIT).value - 1
        figures.append(Figure(f"{code}: token delay, relative, of the floor", floor, None, "", None))
        name = f"{code}: accuracy, relative to explicit"
        figures.append(kept_figure(name, rows, accuracy, COMPRESSED, EXPLICIT, 0.02))
        lost = difference(rows, accuracy, COMPRESSED, EXPLICIT)
        figures.append(shown(f"{code}: semi-implicit - explicit, points", lost))
    arms = (EXPLICIT, LESS_COMPRESSED, COMPRESSED, FLOOR, REMOVED)
    for name in ("token_delay", "ms_to_answer"):
        for arm in arms:
            for code in LANGUAGES:
                if rows.has(f"{name} {code}", arm):
                    figures.append(shown(f"{arm}, {code}, {name}", mean(rows, f"{name} {code}", arm)))
    return figures + _accuracies(rows, tuple(arm for arm in arms if arm != FLOOR))


def little_data_figures(rows: Rows) -> list[Figure]:
    """The explicit chain with a tenth of the pairs against direct answers with all."""
    figures = [
        _above(f"{code}: explicit with a tenth - direct with all", rows, f"accuracy {code}", LITTLE, DIRECT)
        for code in LANGUAGES
    ]
    return figures + _accuracies(rows, (DIRECT, LITTLE, EXPLICIT))


def _above(name: str, rows: Rows, metric: str, arm: str, against: str) -> Figure:
    gain = difference(rows, metric, arm, against)
    met = gain.low > 0 and gain.signs_agree
    return Figure(name, gain.value, (gain.low, gain.high), "lower end above 0", met)


def _accuracies(rows: Rows, arms: tuple[str, ...]) -> list[Figure]:
    return [
        shown(f"{arm}, {code}, accuracy", mean(rows, f"accuracy {code}", arm))
        for arm in arms
        for code in LANGUAGES
        if rows.has(f"accuracy {code}", arm)
    ]
