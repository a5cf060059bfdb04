"""Who tells stories: voices that sound like one speaker in every language (paper XLI, section on data).

Voices are paired by name, where a synthesizer has each of its voices in every language, or by likeness. With a
verification model a pair is kept where the cosine of its x-vectors is above a threshold; the others are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.synthesis.failure import Failure
from cslm.synthesis.made_records import MadeRecords, Row
from cslm.synthesis.recordings import Recordings, Wanted
from cslm.synthesis.synthesizers import SpeechSynthesizer

if TYPE_CHECKING:
    from cslm.synthesis.speaker_likeness import SpeakerLikeness

PAIRINGS = ("name", "likeness")
SPEAKERS = "speakers.jsonl"
Texts = Mapping[str, Sequence[str]]
"""Sentences to hear voices by, in each language; the source comes first."""


@dataclass
class SpeakersConfig:
    """How voices of several languages become speakers."""

    pairing: str = "name"
    """name: a voice of one name is one speaker; likeness: each voice of the source language goes with the voice of the
    other that is most like it, no voice twice. likeness needs a verifier."""
    verifier: str | None = None
    """Hub id or folder of a speaker-verification model of transformers (microsoft/wavlm-base-plus-sv); null pairs by
    name without listening."""
    revision: str | None = None
    """Branch, tag or commit of the verifier on the hub."""
    threshold: float = 0.9
    """A pair of voices is kept where the cosine of their x-vectors is above it (the paper's 0.90)."""
    num_sentences: int = 8
    """Sentences of each language that each voice says to be verified."""
    max_speakers: int | None = None
    """Keep no more than so many: those that are most alike, or the first ones."""
    device: str = "auto"
    """Where the verifier runs: auto, cpu, cuda."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name; or likeness without a verifier.
        """
        if self.pairing not in PAIRINGS:
            raise UserError(f"speakers.pairing is {self.pairing!r}: choose one of {', '.join(PAIRINGS)}")
        if self.pairing == "likeness" and self.verifier is None:
            raise UserError("speakers.pairing likeness needs a model that hears it: give speakers.verifier")
        one = Range(least=1)
        check_numbers(self, "speakers", threshold=Range(-1, 1), num_sentences=one, max_speakers=one)


def pair_speakers(
    config: SpeakersConfig, synthesizer: SpeechSynthesizer, texts: Texts, recordings: Recordings, records: MadeRecords
) -> list[Row]:
    """The speakers and the pairs that are none: ``id``, ``voices`` by language, ``cosine`` (null: nobody listened),
    ``kept``.

    Args:
        config: how they are paired.
        synthesizer: whose voices they are.
        texts: sentences to listen to, of which the first ``num_sentences`` are said.
        recordings: where what they say is kept.
        records: where the result is kept.

    Raises:
        UserError: names that are no speakers, no voice that all languages have, or no pair above the threshold.
    """
    voices = {language: synthesizer.voices(language) for language in texts}
    if config.pairing == "name" and not synthesizer.names_are_speakers:
        raise UserError(
            "the voices of one name are different speakers in each language: give speakers.pairing likeness and a "
            "speakers.verifier"
        )
    if config.verifier is None:
        rows = [_row(name, dict.fromkeys(voices, name), None, True) for name in _common(voices)]
    else:
        from cslm.synthesis.speaker_likeness import SpeakerLikeness  # here: it needs transformers

        likeness = SpeakerLikeness(config.verifier, config.revision, config.device)
        decided_by = _decided_by(config, synthesizer, texts, voices, likeness)
        rows = records.rows(decided_by, lambda: _verified(config, _Heard(likeness, recordings, texts, config), voices))
    return _chosen(rows, config)


class _Heard:
    """The x-vectors of voices."""

    def __init__(self, likeness: SpeakerLikeness, recordings: Recordings, texts: Texts, config: SpeakersConfig) -> None:
        self._likeness, self._recordings = likeness, recordings
        self._texts = {language: list(said)[: config.num_sentences] for language, said in texts.items()}

    def vectors(self, language: str, voices: Sequence[str]) -> NDArray[np.float32]:
        """One vector a voice ``(num_voices, dims)``.

        Raises:
            UserError: a voice that can say none of the sentences.
        """
        return np.stack([self._vector(language, voice) for voice in voices])

    def _vector(self, language: str, voice: str) -> NDArray[np.float32]:
        clips = self._recordings.clips([Wanted(text, language, voice) for text in self._texts[language]])
        said = [clip for clip in clips if not isinstance(clip, Failure)]
        if not said:
            reasons = [clip.reason for clip in clips if isinstance(clip, Failure)]
            raise UserError(f"the voice {voice} of {language} says none of {len(clips)} sentences: {reasons[:1]}")
        return self._likeness.vector(said)


def _verified(config: SpeakersConfig, heard: _Heard, voices: dict[str, list[str]]) -> list[Row]:
    source, *others = voices
    if config.pairing == "name":
        names = _common(voices)
        vectors = {language: heard.vectors(language, names) for language in voices}
        cosines = np.min([np.sum(vectors[source] * vectors[other], axis=1) for other in others], axis=0)
        return [
            _row(name, dict.fromkeys(voices, name), float(cosine), bool(cosine > config.threshold))
            for name, cosine in zip(names, cosines, strict=True)
        ]
    ours = heard.vectors(source, voices[source])
    partners: list[dict[str, tuple[str, float]]] = [{} for _ in voices[source]]
    for other in others:
        cosines = ours @ heard.vectors(other, voices[other]).T
        for mine, yours in best_pairs(cosines):
            partners[mine][other] = (voices[other][yours], float(cosines[mine, yours]))
    return [
        _by_likeness(name, source, found, others, config) for name, found in zip(voices[source], partners, strict=True)
    ]


def best_pairs(cosines: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs of rows and columns of ``(num_rows, num_columns)``, the most alike first, none twice."""
    order = np.argsort(-cosines, axis=None, kind="stable")
    rows, columns, pairs = set[int](), set[int](), list[tuple[int, int]]()
    for place in order.tolist():
        row, column = divmod(place, cosines.shape[1])
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs


def _by_likeness(
    name: str, source: str, found: dict[str, tuple[str, float]], others: list[str], config: SpeakersConfig
) -> Row:
    whole = len(found) == len(others)
    cosine = min(cosine for _, cosine in found.values()) if found else None
    voices = {source: name, **{other: found[other][0] for other in others if other in found}}
    return _row(name, voices, cosine, whole and cosine is not None and cosine > config.threshold)


def _row(name: str, voices: dict[str, str], cosine: float | None, kept: bool) -> Row:
    return {"id": name, "voices": voices, "cosine": None if cosine is None else round(cosine, 6), "kept": kept}


def _common(voices: dict[str, list[str]]) -> list[str]:
    first, *others = voices.values()
    common = [name for name in first if all(name in other for other in others)]
    if not common:
        raise UserError(f"no voice is in all of {', '.join(voices)}: pair them by likeness, with a verifier")
    return common


def _chosen(rows: list[Row], config: SpeakersConfig) -> list[Row]:
    """The rows with no more kept than wanted; says how many are not.

    Raises:
        UserError: none is kept.
    """
    kept = [row for row in rows if row["kept"]]
    if not kept:
        best = max((row["cosine"] for row in rows if row["cosine"] is not None), default=None)
        raise UserError(
            f"none of {len(rows)} pairs of voices is above the threshold {config.threshold:g} (the best: {best}): "
            "lower speakers.threshold, or take other voices"
        )
    if len(kept) < len(rows):
        left_out = f"{len(rows) - len(kept)} of {len(rows)} pairs of voices"
        print(f"speakers: {left_out} are not alike enough (see {SPEAKERS})")
    order = sorted(kept, key=lambda row: -(row["cosine"] or 0.0)) if config.verifier is not None else kept
    chosen = {row["id"] for row in order[: config.max_speakers]}
    return [{**row, "kept": row["id"] in chosen} for row in rows]


def _decided_by(
    config: SpeakersConfig,
    synthesizer: SpeechSynthesizer,
    texts: Texts,
    voices: dict[str, list[str]],
    likeness: SpeakerLikeness,
) -> dict[str, Any]:
    return {
        "what": "speakers",
        "pairing": config.pairing,
        "threshold": config.threshold,
        "verifier": likeness.digest,
        "texts": {language: list(said)[: config.num_sentences] for language, said in texts.items()},
        "voices": {
            language: {name: synthesizer.facts(language, name) for name in names} for language, names in voices.items()
        },
    }
