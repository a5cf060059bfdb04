"""Which utterances a decoder learns from: rows of a unit store by voice, with their audio from the manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.mel_cache import AudioPart, MelCache, build_mel_cache
from cslm.errors import UserError
from cslm.units.store import UnitStore


@dataclass(frozen=True)
class DecoderData:
    """Utterances of the voices, each with its units (in the store) and its spectrogram (in the cache)."""

    store: UnitStore
    """the units"""
    rows: NDArray[np.int64]
    """(utterances,) rows of the store"""
    voices: NDArray[np.int64]
    """(utterances,) index of the voice of each"""
    mels: MelCache
    """the spectrograms, in the order of ``rows``"""


def choose_rows(
    store: UnitStore, voices: Mapping[str, Sequence[str] | None], max_utterances: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the store, in its order, and the voice index of each.

    Args:
        voices: language to the names of its speaker (several names are taken as one voice; None: all of the
            language).
        max_utterances: of each voice; more are thinned out at random by ``seed``.

    Raises:
        UserError: a voice of which the store has nothing, no language, or one that is named twice.
    """
    languages, speakers = store.languages(), store.column("speaker")
    rows, indices = [], []
    spoken = [language_tag(language) for language in voices]
    if len(set(spoken)) < len(spoken):
        raise UserError(f"voices names one language twice: {', '.join(voices)} are {', '.join(spoken)}")
    for index, (language, names) in enumerate(voices.items()):
        chosen = np.flatnonzero(languages == spoken[index])
        if names is not None:
            chosen = chosen[np.isin(speakers[chosen].astype(str), list(names))]
        if len(chosen) == 0:
            raise UserError(_no_voice(store, language, names, languages, speakers))
        if max_utterances is not None and len(chosen) > max_utterances:
            generator = np.random.default_rng([seed, index])
            chosen = np.sort(generator.choice(chosen, max_utterances, replace=False))
        rows.append(chosen)
        indices.append(np.full(len(chosen), index))
    order = np.argsort(np.concatenate(rows), kind="stable")
    return np.concatenate(rows)[order].astype(np.int64), np.concatenate(indices)[order]


def _no_voice(
    store: UnitStore, language: str, names: Sequence[str] | None, languages: NDArray[Any], speakers: NDArray[Any]
) -> str:
    """What to say of a voice of which the store has nothing."""
    spoken = languages == language_tag(language)
    if not spoken.any():
        there = sorted({str(tag) for tag in languages})
        return (
            f"voices names the language {language}, and {store.path} has {', '.join(there)}: "
            f"name those that the model shall speak, --voices '{{{there[0]}: null}}'"
        )
    known = sorted({str(name) for name in speakers[spoken]})
    return (
        f"voices.{language} is {names}, but {store.path} has no such utterance; "
        f"its speakers of {language}: {', '.join(known[:20])}"
    )


def prepare_mels(
    store: UnitStore,
    rows: NDArray[np.int64],
    manifest: str | os.PathLike[str],
    folder: Path,
    config: DecoderConfig,
    num_workers: int,
) -> MelCache:
    """Spectrograms of the chosen rows in ``folder``; computed once.

    Raises:
        UserError: the manifest misses an utterance, or an audio file cannot be used.
    """
    ids = store.column("id")[rows].tolist()
    num_frames = store.column("num_frames")[rows]
    wanted = dict(zip(ids, (num_frames / store.frame_rate_hz).tolist(), strict=True))
    parts = {
        utterance.id: AudioPart(
            resolve_audio(manifest, utterance),
            utterance.start_sec,
            utterance.duration_sec,
            wanted[utterance.id],
            utterance.channel,
        )
        for utterance in read_manifest(manifest)
        if utterance.id in wanted
    }
    missing = [name for name in ids if name not in parts]
    if missing:
        raise UserError(
            f"{manifest} misses {len(missing)} utterances of {store.path}, the first is {missing[0]!r}: "
            "name the manifest that the store was made from"
        )
    return build_mel_cache(folder, [parts[name] for name in ids], config, num_workers)
