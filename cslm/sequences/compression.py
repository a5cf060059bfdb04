"""Chains that become shorter while training goes on (XS-CoT, stage 3; step-wise internalization).

``n`` counts units of the training. After ``n`` of them, of the ``x`` sentences of what stands before the answer,
``min(x, n)`` keep their first ``k`` groups of words and an ellipsis, and all of them from ``m`` on: the chain says less
and keeps its thread. The answer is never touched. Step-wise internalization, the parent method, cuts groups of words
from the end of the chain until nothing is left of it. What a document says hangs on the document, ``n`` and the
seed of its draw alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cslm.corpora.languages import is_unspaced
from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.sequences.chains import Chain, Segment
from cslm.sequences.word_groups import WORDS, check_words, sentences, word_ends

UNITS = ("share", "epochs", "steps")
METHODS = {"semi_implicit": ("keep_groups", "ellipsis"), "stepwise": ("removed_groups",)}
"""Name to the keys that it alone reads."""
DIRECTIONS = ("first", "last")
_ALL = 1_000_000_000  # more than any chain has sentences or words
_HAIR = 1e-9  # 0.1 * 10 and its like reach the whole number


@dataclass(frozen=True)
class CompressionConfig:
    """How chains become shorter while training goes on, e.g. ``{every: 0.1, all_from: 8}``."""

    unit: str = "share"
    """what n counts: share (of the training, by its tokens), steps (by the tokens of one) or epochs (passes through
    the source, at an even pace: as many as the whole training makes)"""
    every: float = 0.1
    """so many of these make n one more; above 0"""
    all_from: int | None = None
    """m: from this n on every sentence is shortened (stepwise: nothing is left); null never does so at once"""
    method: str = "semi_implicit"
    """semi_implicit (n sentences keep their first groups of words and an ellipsis) or stepwise (n times removed_groups
    groups of words are cut from the end of the chain, and a part that is empty loses its marker)"""
    keep_groups: int = 2
    """k: groups of words that a shortened sentence keeps"""
    removed_groups: int = 2
    """of stepwise: groups of words that are cut for each n"""
    direction: str = "first"
    """first (from the oldest sentence or word on) or last (from the one before the answer back)"""
    words: str = "words"
    """what a word is: words (between spaces; one character where none are written), characters, or phrases (of BudouX
    in Japanese, Chinese and Thai, words elsewhere; extra phrases)"""
    group_size: int = 2
    """words in a group"""
    unspaced_group_size: int | None = None
    """the same in languages that are written without spaces; null is group_size"""
    ellipsis: str = "..."
    """stands for what a shortened sentence leaves out"""
    smoothing: float | None = None
    """lambda: each document is o units further, o from 0 on drawn with exp(-lambda o) (ICoT: 4); null is none"""
    full_share: float = 0.0
    """share of the documents, drawn, that keep the whole chain; from 0 to below 1"""
    reset_optimizer: bool = False
    """the optimizer forgets its moments whenever n has grown, until all is shortened"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, or a key that the method does not read, by name.
        """
        for name, choices in (("unit", UNITS), ("method", METHODS), ("direction", DIRECTIONS), ("words", WORDS)):
            if getattr(self, name) not in choices:
                raise UserError(f"compression.{name} is {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        one = Range(least=1)
        check_numbers(self, "compression", every=Range(above=0), all_from=one, keep_groups=Range(least=0))
        check_numbers(self, "compression", removed_groups=one, group_size=one, unspaced_group_size=one)
        check_numbers(self, "compression", smoothing=Range(above=0), full_share=Range(least=0, below=1))
        for method, keys in METHODS.items():
            for key in dataclasses.fields(self) if method != self.method else ():
                if key.name in keys and getattr(self, key.name) != key.default:
                    raise UserError(
                        f"compression.{key.name} is given, which the method {self.method} does not read: leave it out"
                    )


@dataclass(frozen=True, slots=True)
class Compression:
    """A schedule laid over a training."""

    config: CompressionConfig
    """what is asked for"""
    num_units: float
    """what n counts up to in the whole training; infinite until that is reckoned: then all is shortened"""

    @classmethod
    def of(cls, config: CompressionConfig) -> Compression:
        """The schedule of a configuration; where n counts no shares of the training, it is still to be reckoned."""
        return cls(config, 1 / config.every if config.unit == "share" else math.inf)

    @property
    def most(self) -> int:
        """The n of the end of the training."""
        return _ALL if math.isinf(self.num_units) else math.floor(self.num_units + _HAIR)

    def __str__(self) -> str:
        config = self.config
        told = f"chains become shorter: n grows by one every {config.every:g} {config.unit} to {self.most}"
        if config.all_from is None:
            return told
        return f"{told}; all are from n {config.all_from} on, {config.all_from / self.num_units:.0%} of the training"

    def count(self, progress: float) -> int:
        """``n`` at a share of the training; it stays where all is shortened."""
        n = self.most if math.isinf(self.num_units) else math.floor(progress * self.num_units + _HAIR)
        return n if self.config.all_from is None else min(n, self.config.all_from)

    def shortened(self, chain: Chain, document: Mapping[str, Any], progress: float, seed: int) -> dict[str, str | None]:
        """The texts of a document before its answer, by field, as they are at ``progress``; None is left out.

        Args:
            seed: of the document's draw.
        """
        parts = _parts(chain, document)
        n = self.count(progress)
        if self.config.full_share or self.config.smoothing is not None:
            full, ahead = np.random.default_rng(seed).random(2).tolist()
            if full < self.config.full_share:
                return {segment.field: text for segment, text, _ in parts}
            if self.config.smoothing is not None:
                n += math.floor(-math.log(1.0 - ahead) / self.config.smoothing)
        shorten = _some_sentences if self.config.method == "semi_implicit" else _without_groups
        texts = shorten(self.config, [(text, language) for _, text, language in parts], n)
        return {segment.field: text for (segment, _, _), text in zip(parts, texts, strict=True)}


def check_compression(config: CompressionConfig, chain: Chain, order: str, languages: Collection[str]) -> None:
    """Make sure that there is something to shorten, and that its words can be told.

    Args:
        order: the name of the chain.
        languages: of what it says before the answer.

    Raises:
        UserError: a chain without thoughts, or a language whose words are not known.
    """
    if not _before_the_answer(chain):
        raise UserError(f"compression shortens what stands before the answer, and the order {order} has nothing there")
    check_words(config.words, languages)


def _before_the_answer(chain: Chain) -> list[Segment]:
    *before, last = chain.segments
    return [segment for segment in before if segment.field != last.field and segment.modality == "text"]


def _parts(chain: Chain, document: Mapping[str, Any]) -> list[tuple[Segment, str, str]]:
    """Each part before the answer with its text and its language."""
    return [(part, document[part.field], part.language_in(document)) for part in _before_the_answer(chain)]


def _some_sentences(config: CompressionConfig, parts: list[tuple[str, str]], n: int) -> list[str | None]:
    """The texts with ``n`` sentences shortened, or all from ``all_from`` on."""
    cut = [sentences(text) for text, _ in parts]
    places = [(part, place) for part, found in enumerate(cut) for place in range(len(found))]
    if config.direction == "last":
        places.reverse()
    num = len(places) if config.all_from is not None and n >= config.all_from else n
    for part, place in places[:num]:
        cut[part][place] = _head(config, cut[part][place], parts[part][1])
    return ["".join(found) for found in cut]


def _head(config: CompressionConfig, sentence: str, language: str) -> str:
    """The first groups of a sentence and an ellipsis; the sentence where it has no more."""
    ends = _group_ends(config, sentence, language)
    if len(ends) <= config.keep_groups:
        return sentence
    start = len(sentence) - len(sentence.lstrip())
    return sentence[: ends[config.keep_groups - 1] if config.keep_groups else start] + config.ellipsis


def _without_groups(config: CompressionConfig, parts: list[tuple[str, str]], n: int) -> list[str | None]:
    """The texts without ``n`` times so many groups, counted over all of them from one end."""
    if config.all_from is not None and n >= config.all_from:
        return [None for _ in parts]
    left = n * config.removed_groups
    from_end = config.direction == "last"
    texts: list[str | None] = []
    for text, language in reversed(parts) if from_end else parts:
        ends = _group_ends(config, text, language)
        gone, left = min(left, len(ends)), left - min(left, len(ends))
        if gone == len(ends):
            texts.append(None if gone else text)
        elif from_end:
            texts.append(text if gone == 0 else text[: ends[len(ends) - gone - 1]])
        else:
            texts.append(text if gone == 0 else _behind(text, ends[gone - 1]))
    return texts[::-1] if from_end else texts


def _behind(text: str, place: int) -> str:
    """What follows a word: from the next letter on, without the punctuation between."""
    rest = text[place:]
    start = next(index for index, character in enumerate(rest) if character.isalnum())
    return rest[start:]


def _group_ends(config: CompressionConfig, text: str, language: str) -> list[int]:
    """The place behind each group of words; the last one may be smaller."""
    size = config.group_size
    if config.unspaced_group_size is not None and is_unspaced(language):
        size = config.unspaced_group_size
    ends = word_ends(text, language, config.words)
    return [ends[min(place + size, len(ends)) - 1] for place in range(0, len(ends), size)]
