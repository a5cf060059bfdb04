"""A bigram language model of a set of sentences, written in the ARPA format that PocketSphinx reads.

Absolute discounting with back-off to unigrams (add-one over the vocabulary, so that every word can follow every word).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from cslm.files.atomic_file import write_atomically

BEGIN, END = "<s>", "</s>"
_DISCOUNT = 0.5


def bigram_arpa(sentences: Iterable[Sequence[str]]) -> str:
    """The ARPA text of a bigram model of sentences given as lists of words.

    Sentences count once each as they come; an empty one is skipped.
    """
    unigrams: Counter[str] = Counter()
    bigrams: Counter[tuple[str, str]] = Counter()
    for words in sentences:
        if words:
            row = [BEGIN, *words, END]
            unigrams.update(row[1:])
            bigrams.update(pairwise(row))
    assert unigrams, "a language model needs at least one sentence"
    return "\n".join(_lines(unigrams, bigrams)) + "\n"


def write_bigram_arpa(sentences: Iterable[Sequence[str]], path: Path) -> None:
    """Write :func:`bigram_arpa` to a file, atomically."""
    write_atomically(path, bigram_arpa(sentences).encode("utf-8"))


def _lines(unigrams: Counter[str], bigrams: Counter[tuple[str, str]]) -> list[str]:
    vocabulary = sorted(unigrams)
    total = sum(unigrams.values()) + len(vocabulary)
    unigram = {word: (unigrams[word] + 1) / total for word in vocabulary}
    history: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    seen: dict[str, float] = {}
    for (first, second), count in bigrams.items():
        history[first] += count
        kinds[first] += 1
        seen[first] = seen.get(first, 0.0) + unigram[second]
    lines = ["", "\\data\\", f"ngram 1={len(vocabulary) + 1}", f"ngram 2={len(bigrams)}", "", "\\1-grams:"]
    for word in [BEGIN, *vocabulary]:
        probability = math.log10(unigram[word]) if word != BEGIN else -99.0
        lines.append(f"{probability:.4f} {word} {_back_off(word, history, kinds, seen):.4f}")
    lines += ["", "\\2-grams:"]
    for (first, second), count in sorted(bigrams.items()):
        lines.append(f"{math.log10((count - _DISCOUNT) / history[first]):.4f} {first} {second}")
    return [*lines, "", "\\end\\"]


def _back_off(word: str, history: Counter[str], kinds: Counter[str], seen: dict[str, float]) -> float:
    """The log10 weight that gives the discounted mass to the words never seen after this one."""
    if word not in history:
        return 0.0
    left = 1.0 - seen[word]
    if left <= 1e-9:
        return -9.0
    return math.log10(_DISCOUNT * kinds[word] / history[word] / left)
