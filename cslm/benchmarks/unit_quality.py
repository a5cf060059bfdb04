"""How good the units of a card are for a language model, on a sample of a manifest.

The figures (``python tools/bench_units.py MANIFEST CARD``):

- ``units_per_sec``: after repeats are merged.
- ``changed_by_shift``: unit error rate of the merged units when the audio begins 12.5 ms later.
- ``abx_error.<language>`` (for a manifest with word times): of a word X, the same word A of another speaker and another
  word B, how often the units of X are nearer to B (edits over the length of the longer; a tie counts half).
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import numpy as np

from cslm.audio.waveform import load_waveform
from cslm.codecs.families import load_codec
from cslm.codecs.units import Units, cut, merge_repeats
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.evaluation.error_rates import unit_errors

NUM_UTTERANCES = 600
NUM_TRIPLES = 4000
SHIFT_SEC = 0.0125
LEAST_WORD_SEC = 0.12

Row = list[int]


def unit_quality(manifest: str, card: str) -> dict[str, Any]:
    """The figures of a card's units on a sample of a manifest.

    Raises:
        UserError: a manifest or a card that cannot be used, or audio that cannot be read.
    """
    generator = random.Random(0)
    codec = load_codec(card)
    utterances = list(read_manifest(manifest))
    utterances = generator.sample(utterances, min(NUM_UTTERANCES, len(utterances)))
    whole: list[Row] = []
    later: list[Row] = []
    seconds = 0.0
    words: dict[str, list[tuple[str, str, Row]]] = defaultdict(list)
    for utterance in utterances:
        part = (utterance.start_sec, utterance.duration_sec)
        path = resolve_audio(manifest, utterance)
        audio, rate_hz = load_waveform(path, *part, codec.sample_rate_hz, channel=utterance.channel)
        units, shifted = codec.encode([audio, audio[round(SHIFT_SEC * rate_hz) :]])
        whole.append(_merged(units))
        later.append(_merged(shifted))
        seconds += len(audio) / rate_hz
        for word, start_sec, end_sec in utterance.words or ():
            first, last = round(start_sec * codec.frame_rate_hz), round(end_sec * codec.frame_rate_hz)
            if end_sec - start_sec > LEAST_WORD_SEC and first < last <= len(units):
                spoken = (word.casefold(), utterance.speaker or "", _merged(cut(units, first, last)))
                words[utterance.language].append(spoken)
    return {
        "utterances": len(utterances),
        "units_per_sec": round(sum(map(len, whole)) / seconds, 1),
        "changed_by_shift": round(unit_errors(whole, later).rate, 3),
        "abx_error": {language: _abx_error(items, generator) for language, items in sorted(words.items())},
    }


def _merged(units: Units) -> Row:
    return merge_repeats(units).ids[:, 0].tolist()


def _abx_error(items: list[tuple[str, str, Row]], generator: random.Random) -> float | None:
    """The ABX error over words, or None where no word is said by two speakers."""
    by_word = defaultdict(list)
    for word, speaker, row in items:
        by_word[word].append((speaker, row))
    triples: list[tuple[Row, Row, Row]] = []
    for _ in range(NUM_TRIPLES):
        word, speaker, x = generator.choice(items)
        others = [row for other, row in by_word[word] if other != speaker]
        different, _, b = generator.choice(items)
        if others and different != word:
            triples.append((x, generator.choice(others), b))
    if not triples:
        return None
    same, other = (
        unit_errors([triple[0] for triple in triples], [triple[place] for triple in triples]).errors
        / [max(len(triple[0]), len(triple[place])) for triple in triples]
        for place in (1, 2)
    )
    return round(float(np.mean((same > other) + 0.5 * (same == other))), 3)
