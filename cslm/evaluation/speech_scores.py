"""Scores of hearing (ASR) and of speaking a given text (TTS), by language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.evaluation.error_rates import rate_name, rate_scores, text_errors, unit_errors
from cslm.evaluation.mel_cepstral_distortion import mel_cepstral_distortion_db
from cslm.evaluation.recognizers import Clip
from cslm.evaluation.scored_model import ScoredModel, load_clip, spread

Scores = dict[str, Any]


def asr_scores(scored: ScoredModel) -> Scores:
    """``asr``: by language the error rate of the test set and of the unheard voice; by name that of the other sets."""
    scores: Scores = {}
    config = scored.config
    if config.asr_test is not None:
        for language, items in _by_language(scored, config.asr_test).items():
            scores[language] = _hear(scored, items, language, "asr")
    if config.asr_unheard_voice is not None:
        for language, items in _by_language(scored, config.asr_unheard_voice).items():
            unheard = _hear(scored, items, language, "unheard_voice")
            renamed = {key.replace(rate_name(language), "unheard_voice"): value for key, value in unheard.items()}
            renamed["unheard_voice_n"] = renamed.pop("n")
            scores.setdefault(language, {}).update(renamed)
    for name, manifest in config.asr_sets.items():
        by_language = _by_language(scored, manifest)
        if len(by_language) > 1:
            raise UserError(f"asr_sets.{name}: {manifest} holds {', '.join(by_language)}: give one language a set")
        ((language, items),) = by_language.items()
        scores[name] = _hear(scored, items, language, name)
    return scores


def tts_scores(scored: ScoredModel) -> Scores:
    """``tts`` by language: error rate as the model hears its own waveform, and three that need no ear of the model."""
    assert scored.config.tts_test is not None
    return {
        language: _speak(scored, items, language)
        for language, items in _by_language(scored, scored.config.tts_test).items()
    }


def _hear(scored: ScoredModel, items: Sequence[tuple[Utterance, Path]], language: str, name: str) -> Scores:
    clips = [load_clip(utterance, path) for utterance, path in items]
    heard = scored.ear.transcribe(clips, [language] * len(items), f"transcribe {language}")
    scored.note(name, items, heard)
    counts = text_errors([utterance.text for utterance, _ in items], heard, language)
    return rate_scores(counts, rate_name(language), scored.bootstrap())


def _speak(scored: ScoredModel, items: Sequence[tuple[Utterance, Path]], language: str) -> Scores:
    texts = [utterance.text for utterance, _ in items]
    languages = [language] * len(items)
    own = [load_clip(utterance, path) for utterance, path in items]
    units = scored.tasks.synthesize(texts, languages, scored.config.tts, scored.drawing(), f"speak {language}")
    clips = scored.speak(units, languages)
    heard = scored.ear.transcribe(clips, languages)
    scored.note("tts", items, heard)
    scores = rate_scores(text_errors(texts, heard, language), rate_name(language), scored.bootstrap())
    references = [item.ids.reshape(-1).tolist() for item in scored.processor.units_batch(own)]
    written = [item.ids.reshape(-1).tolist() for item in units]
    scores |= rate_scores(unit_errors(references, written), "unit_error_rate", scored.bootstrap())
    scores |= _distortion(own, clips, scored.bootstrap())
    if scored.other_ear is not None and scored.other_ear.hears(language):
        scores["other_ear"] = _other_ear(scored, items, own, clips, language)
    return scores


def _distortion(own: Sequence[Clip], clips: Sequence[Clip], generator: np.random.Generator) -> Scores:
    """The mean over the items that have any sound, with a 95 % bootstrap interval."""
    pairs = [(reference, clip) for reference, clip in zip(own, clips, strict=True) if len(clip[0])]
    if not pairs:
        return {"mel_cepstral_distortion_db": None}
    values = np.array([mel_cepstral_distortion_db(r[0], c[0], r[1], c[1]) for r, c in pairs])
    means = values[generator.integers(0, len(values), size=(1000, len(values)))].mean(axis=1)
    name, interval = "mel_cepstral_distortion_db", np.quantile(means, (0.025, 0.975)).round(4).tolist()
    return {name: round(float(values.mean()), 4), f"{name}_interval": interval}


def _other_ear(
    scored: ScoredModel,
    items: Sequence[tuple[Utterance, Path]],
    own: Sequence[Clip],
    clips: Sequence[Clip],
    language: str,
) -> Scores:
    assert scored.other_ear is not None
    texts = [utterance.text for utterance, _ in items]
    heard = scored.other_ear.transcribe([*clips, *own], [language] * (2 * len(texts)))
    name = rate_name(language)
    scored.note("tts, other ear", items, heard[: len(texts)])
    model = rate_scores(text_errors(texts, heard[: len(texts)], language), name, scored.bootstrap())
    floor = rate_scores(text_errors(texts, heard[len(texts) :], language), f"floor_{name}", scored.bootstrap())
    return {**model, **floor}


def _by_language(scored: ScoredModel, manifest: str) -> dict[str, list[tuple[Utterance, Path]]]:
    """The items of a manifest by language, at most ``max_items`` of each."""
    groups: dict[str, list[tuple[Utterance, Path]]] = {}
    for item in scored.utterances(manifest):
        groups.setdefault(item[0].language, []).append(item)
    if not groups:
        raise UserError(f"{scored.path(manifest)} holds no utterance: prepare the corpus again")
    return {language: spread(items, scored.config.max_items) for language, items in groups.items()}
