"""What ``tools/bench_vocoder.py`` opens before it measures: a checkpoint with its ears, decoders, sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cslm.benchmarks.vocoder_quality import vocoder_quality
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.errors import UserError
from cslm.evaluation.score_config import EarsConfig, OtherEarConfig, ScoreConfig
from cslm.evaluation.scored_model import open_scored_model


def compared_decoders(given: Any) -> dict[str, Any]:
    """The figures of :mod:`cslm.benchmarks.vocoder_quality`, by the arguments of the command.

    Raises:
        UserError: what cannot be read, or two decoders of one name.
    """
    names = [Path(folder).name for folder in given.decoders]
    if len(set(names)) < len(names):
        raise UserError(f"decoders: two folders are called {', '.join(names)}: give each its own name")
    other = None if given.ear_sentences is None else OtherEarConfig([str(given.ear_sentences)])
    config = ScoreConfig(given.checkpoint, "figures.json", ears=EarsConfig(other=other), max_items=given.sentences)
    scored = open_scored_model(config)
    ears = {"own_ear": scored.ear, **({"other_ear": scored.other_ear} if scored.other_ear is not None else {})}
    fingerprint = scored.processor.fingerprint
    decoders = {
        name: SpeechDecoder.from_pretrained(folder, fingerprint, given.checkpoint)
        for name, folder in zip(names, given.decoders, strict=True)
    }
    items = scored.by_language(str(given.manifest))
    return vocoder_quality(scored.processor, decoders, items, ears, not given.no_dnsmos)
