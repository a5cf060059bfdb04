"""Speaking a given text: what is heard in it, and how far units and sound are from the synthesizer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cslm.corpora.manifest import Utterance
from cslm.evaluation.error_rates import rate_name, rate_scores, text_errors, unit_errors
from cslm.evaluation.mel_cepstral_distortion import mel_cepstral_distortion_db
from cslm.evaluation.paired_tests import ratio_interval
from cslm.evaluation.recognizers import Clip
from cslm.evaluation.score_contract import Computed, Record, Score
from cslm.evaluation.score_tables import Column, Table, count, decibels, html_table, percent, rate_key, with_key
from cslm.evaluation.scored_model import TRANSCRIPTS, ScoredModel, load_clip, transcripts
from cslm.generation.decoding import DecodingConfig

Items = Sequence[tuple[Utterance, Path]]


@dataclass
class TtsScore(Score):
    """Text to speech."""

    manifest: str
    """texts to speak, with the synthesizer's own audio of them"""
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(max_new_tokens=1024))
    """how speech is decoded"""

    def files(self) -> Sequence[str]:
        """The manifest."""
        return [self.manifest]

    def check(self, scored: ScoredModel) -> None:
        """There is a decoder.

        Raises:
            UserError: there is none.
        """
        scored.processor.speech_decoder()

    def compute(self, scored: ScoredModel) -> Computed:
        """By language: error rate as the model hears its own waveform, and three that need no ear of the model."""
        found = Computed({}, {TRANSCRIPTS: []})
        for language, items in scored.by_language(self.manifest).items():
            found.results[language] = self._speak(scored, items, language, found.files[TRANSCRIPTS])
        return found

    def _speak(self, scored: ScoredModel, items: Items, language: str, lines: list[Record]) -> Record:
        """The scores of one language; what was heard goes to ``lines``."""
        texts = [utterance.text for utterance, _ in items]
        languages = [language] * len(items)
        own = [load_clip(utterance, path) for utterance, path in items]
        units = scored.tasks.synthesize(texts, languages, self.decoding, scored.drawing(), f"speak {language}")
        clips = scored.speak(units, languages)
        heard = scored.ear.transcribe(clips, languages)
        lines += transcripts("tts", items, heard)
        scores = rate_scores(text_errors(texts, heard, language), rate_name(language), scored.bootstrap())
        references = [item.ids.reshape(-1).tolist() for item in scored.processor.units_batch(own)]
        written = [item.ids.reshape(-1).tolist() for item in units]
        scores |= rate_scores(unit_errors(references, written), "unit_error_rate", scored.bootstrap())
        scores |= _distortion(own, clips, scored.bootstrap())
        if scored.other_ear is not None and scored.other_ear.hears(language):
            heard = scored.other_ear.transcribe([*clips, *own], [language] * (2 * len(texts)))
            lines += transcripts("tts, other ear", items, heard[: len(texts)])
            scores["other_ear"] = _other_ear(scored, texts, heard, language)
        return scores

    @classmethod
    def tables(cls, results: Record) -> list[Table]:
        """A row for each language."""
        columns: list[Column] = [
            ("re-recognised by the model", "rate", percent),
            ("units against the synthesizer's", "unit_error_rate", percent),
            ("mel-cepstral distortion", "mel_cepstral_distortion_db", decibels),
            ("heard by the other ear", "other_rate", percent),
            ("the synthesizer's own", "other_floor", percent),
            ("n", "n", count),
        ]
        rows = {}
        for language, values in results.items():
            key, other = rate_key(values), values.get("other_ear", {})
            renamed = {**with_key(other, key, "other_rate"), **with_key(other, f"floor_{key}", "other_floor")}
            rows[f"{language} ({key.upper()})"] = {**values, **with_key(values, key, "rate"), **renamed}
        return [Table("Speaking: text to speech", html_table(rows, columns))]


def _distortion(own: Sequence[Clip], clips: Sequence[Clip], generator: np.random.Generator) -> Record:
    """The mean over the items that have any sound, with a 95 % bootstrap interval."""
    pairs = [(reference, clip) for reference, clip in zip(own, clips, strict=True) if len(clip[0])]
    if not pairs:
        return {"mel_cepstral_distortion_db": None}
    values = np.array([mel_cepstral_distortion_db(r[0], c[0], r[1], c[1]) for r, c in pairs])
    name, ends = "mel_cepstral_distortion_db", ratio_interval(values, np.ones(len(values)), 1000, generator)
    return {name: round(float(values.mean()), 4), f"{name}_interval": [round(end, 4) for end in ends]}


def _other_ear(scored: ScoredModel, texts: Sequence[str], heard: Sequence[str], language: str) -> Record:
    """What another ear hears in the model's clips, the first half, and in the synthesizer's own, the second."""
    name = rate_name(language)
    model = rate_scores(text_errors(texts, heard[: len(texts)], language), name, scored.bootstrap())
    floor = rate_scores(text_errors(texts, heard[len(texts) :], language), f"floor_{name}", scored.bootstrap())
    return {**model, **floor}
