"""Sentences spoken in two languages: which belong together, and how close what a model makes of them is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.errors import UserError
from cslm.evaluation.paired_tests import clustered_mean, document_clusters
from cslm.evaluation.score_contract import Record
from cslm.evaluation.spoken_source import Listed

Parallel = tuple[Listed, Listed]
"""One sentence in two languages."""


def parallel_sentences(
    listed: Iterable[Listed], languages: Sequence[str] | None, where: str
) -> dict[str, list[Parallel]]:
    """Utterances of one group in two languages, by the pair of languages (``en-fr``), groups in their order.

    Of several utterances of a group in one language the first is taken.

    Args:
        languages: by their tags; None takes all that there are, in alphabetical order, and of their pairs those that
            have two groups in common.
        where: what messages call the set.

    Raises:
        UserError: two languages that are asked for have fewer than two groups in common, or all have.
    """
    groups: dict[str, dict[str, Listed]] = {}
    for one in listed:
        if one.group is not None:
            groups.setdefault(one.group, {}).setdefault(one.language, one)
    there = sorted({language for by_language in groups.values() for language in by_language})
    found = {
        f"{first}-{second}": [(one[first], one[second]) for one in groups.values() if {first, second} <= one.keys()]
        for first, second in combinations(languages or there, 2)
    }
    few = [name for name, pairs in found.items() if len(pairs) < 2]
    if languages is None and len(few) < len(found):
        return {name: pairs for name, pairs in found.items() if name not in few}
    if few or not found:
        has = f"its groups have {', '.join(there)}" if there else "its utterances have no group"
        wanted = f" between {', '.join(few)}" if few else ""
        raise UserError(
            f"{where}: fewer than two sentences are parallel{wanted} ({has}): give groups, or other languages"
        )
    return found


def several_voices(listed: Iterable[Listed]) -> dict[str, int]:
    """By language, how many groups several of its utterances say: of these the first is taken."""
    counts = Counter((one.group, one.language) for one in listed if one.group is not None)
    return dict(Counter(language for (_, language), count in counts.items() if count > 1))


def cosines(
    first: NDArray[Any], second: NDArray[Any], voices: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines ``(num_sentences, num_layers)`` of parallel vectors, and the mean over those of other sentences.

    Args:
        first: vectors ``(num_sentences, num_layers, width)`` in one language.
        second: of the same sentences in the other one.
        voices: whose ``second`` each is: the other sentences are those of the same one.

    Returns:
        Parallel, random, and which sentences have others: ``(num_sentences,)``.
    """
    first, second = _unit_length(first), _unit_length(second)
    parallel = np.einsum("nlw,nlw->nl", first, second)
    random, has_others = np.zeros_like(parallel), np.zeros(len(parallel), dtype=np.bool_)
    members: dict[Hashable, list[int]] = {}
    for index, voice in enumerate(voices):
        members.setdefault(voice, []).append(index)
    for indices in members.values():
        if len(indices) > 1:
            to_all = np.einsum("nlw,lw->nl", first[indices], second[indices].sum(axis=0))
            random[indices] = (to_all - parallel[indices]) / (len(indices) - 1)
            has_others[indices] = True
    return parallel, random, has_others


def alignment_scores(rows: Sequence[Record], num_resamples: int, generator: np.random.Generator) -> Record:
    """The entry of results.json of the rows of one pair of languages.

    ``layers`` by number, the best one (the largest difference behind layer 0, the embeddings), and their mean: each
    ``parallel``, ``random``, ``difference`` and its 95 % bootstrap interval, over documents where several sentences
    share one (``num_clusters``: the documents, and the sentences that have none).
    """
    if not rows:
        return {"n": 0}
    parallel, random = (np.array([row[name] for row in rows], dtype=np.float64) for name in ("parallel", "random"))
    clusters = document_clusters(rows, "group")

    def entry(one: NDArray[np.float64], other: NDArray[np.float64]) -> Record:
        found = clustered_mean((one - other).tolist(), clusters, None, num_resamples, generator)
        interval = [round(found.low, 5), round(found.high, 5)]
        means = {"parallel": round(float(one.mean()), 5), "random": round(float(other.mean()), 5)}
        return {**means, "difference": round(found.value, 5), "difference_interval": interval}

    layers = [{"layer": index, **entry(parallel[:, index], random[:, index])} for index in range(parallel.shape[1])]
    best = max(layers[1:], key=lambda one: float(one["difference"]))
    mean = entry(parallel[:, 1:].mean(axis=1), random[:, 1:].mean(axis=1))
    scores = {"best_layer": best, "mean_over_layers": mean, "layers": layers, "n": len(rows)}
    return scores | ({"num_clusters": len(set(clusters))} if clusters is not None else {})


def _unit_length(vectors: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.asarray(vectors, dtype=np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)
