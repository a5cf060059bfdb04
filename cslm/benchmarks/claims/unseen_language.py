"""Recordings in a language that no gate of the village has learnt: what it takes them for is told beside its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cslm.corpora.manifest import write_manifest
from cslm.village.speech import Line, speak_lines

LANGUAGE = "es"
NUM_RECORDINGS = 50
_VOICES = [f"roa/es+{variant}" for variant in ("f4", "Alex", "Annie", "Denis", "linda", "rob")]
_RATE_WPM, _PITCH = 185, 50
_BEGINNINGS = ("esta mañana", "ayer por la tarde", "en el mercado", "después de la lluvia", "cerca del río")
_MIDDLES = ("mi hermano", "la señora del molino", "el viejo pescador", "nuestra vecina", "aquel muchacho")
_ENDS = ("compró pan y queso", "tocaba la guitarra", "buscaba a su perro", "contó una historia larga")


def write_unseen_language(corpus: Path, seed: int) -> Path:
    """Speak sentences into the folder of a corpus; returns their manifest, which is there once all of it is.

    Args:
        seed: draws sentences and voices.
    """
    manifest = corpus / f"unseen_language_{LANGUAGE}.jsonl"
    if not manifest.is_file():
        generator = np.random.default_rng(seed)
        places = generator.permutation(len(_BEGINNINGS) * len(_MIDDLES) * len(_ENDS))[:NUM_RECORDINGS]
        lines = [
            Line(f"{LANGUAGE}-unseen-{number:06d}", _sentence(int(place)), LANGUAGE, str(generator.choice(_VOICES)),
                 _RATE_WPM, _PITCH)
            for number, place in enumerate(places)
        ]  # fmt: skip
        write_manifest(speak_lines(lines, corpus, 1), manifest)
    return manifest


def _sentence(number: int) -> str:
    number, end = divmod(number, len(_ENDS))
    first, middle = divmod(number, len(_MIDDLES))
    text = f"{_BEGINNINGS[first]} {_MIDDLES[middle]} {_ENDS[end]}."
    return text[0].upper() + text[1:]
