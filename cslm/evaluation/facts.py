"""Whether an answer states the right fact and no wrong one, and in which script it is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import binomtest

from cslm.evaluation.error_rates import by_character, normalize
from cslm.generation.scripts import script_share


def contains(text: str, words: str, language: str) -> bool:
    """Whether ``words`` stand in the normalised text: at word boundaries, or anywhere where no spaces are written.

    Words of punctuation alone stand where the text says just them.
    """
    needle, hay = normalize(words, language), normalize(text, language)
    if not needle:
        return says_the_same(text, words, language)
    if by_character(language):
        return needle in hay
    return f" {needle} " in f" {hay} "


def says_the_same(one: str, other: str, language: str) -> bool:
    """Whether two texts are alike but for case and punctuation; where one is nothing else, whether they are alike."""
    found = normalize(one, language), normalize(other, language)
    return found[0] == found[1] if all(found) else one.strip() == other.strip()


def states_fact(text: str, fact: Sequence[str], wrong_facts: Sequence[str], language: str) -> bool:
    """Whether the text holds every word of the fact and none of the wrong ones.

    A wrong one that is part of the fact itself (the same word, or inside a longer one) is not held against it.
    """
    fact_text = " ".join(fact)
    wrong = [word for word in wrong_facts if not contains(fact_text, word, language)]
    if any(contains(text, word, language) for word in wrong):
        return False
    return all(contains(text, word, language) for word in fact)


def is_off_target(text: str, language: str) -> bool:
    """Whether most of the answer is not in the script of the language that was asked for.

    Languages of one script (English, French) are not told apart.
    """
    return script_share(text, language) <= 0.5


def share_scores(hits: Sequence[bool], name: str) -> dict[str, Any]:
    """The entry of results.json: the share under ``name`` and its 95 % Wilson interval under ``name``_interval."""
    total, count = len(hits), sum(hits)
    if total == 0:
        return {}
    low, high = wilson_interval(count, total)
    return {name: round(count / total, 5), f"{name}_interval": [round(low, 5), round(high, 5)]}


def wilson_interval(count: float, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share; ``count`` may hold halves.

    Of whole counts it is ``scipy.stats.binomtest(count, total).proportion_ci(method="wilson")``, which takes no halves.
    """
    assert 0 <= count <= total and total > 0
    if float(count).is_integer():
        found = binomtest(int(count), total).proportion_ci(method="wilson")
        return float(found.low), float(found.high)
    z = 1.959964
    share, scale = count / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
