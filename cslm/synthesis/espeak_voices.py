"""espeak-ng as a synthesizer of corpora: its variants are voices that every language has."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cslm.audio.espeak import Synthesizer
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.synthesis.failure import Failure
from cslm.synthesis.synthesizer_config import EspeakConfig

if TYPE_CHECKING:
    from cslm.evaluation.recognizers import Clip  # it needs torch, which takes a while

CLEAR_VARIANTS = ("f1", "f4", "m1", "m3", "m4", "m5", "Alex", "Annie", "Mike", "john", "michel", "paul")
"""Voices where nobody names any: clear ones, of which each says the same text with the same samples in every run."""

_KANJI = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_PRIORITY = 5  # of a language in a voice file that does not say any
_SCALE = np.float32(1 / 32768)


class EspeakVoices:
    """One voice a variant, in the accent of the language; a text is said by a synthesizer that said nothing before."""

    names_are_speakers = True

    def __init__(self, config: EspeakConfig) -> None:
        """Load the library.

        Raises:
            MissingExtraError: espeak-ng is not installed.
            UserError: a variant that there is not, or that sounds different in every run.
        """
        self._config, self._synthesizer = config, Synthesizer()
        self._accents = {language_tag(language): voice for language, voice in config.accents.items()}
        for variant in config.variants:
            _check_variant(variant)

    def voices(self, language: str) -> list[str]:
        """The variants, whichever language.

        Raises:
            UserError: espeak-ng does not speak it.
        """
        self._accent(language)
        return list(self._config.variants or CLEAR_VARIANTS)

    def facts(self, language: str, voice: str) -> dict[str, Any]:
        """Voice file, variant, rate, pitch and version.

        Raises:
            UserError: espeak-ng does not speak the language, or has no such variant.
        """
        _check_variant(voice)
        return {
            "synthesizer": "espeak",
            "version": importlib.metadata.version("espeakng-loader"),
            "voice": f"{self._accent(language)}+{voice}",
            "rate_wpm": self._config.rate_wpm,
            "pitch": self._config.pitch,
        }

    def speak(self, texts: Sequence[str], language: str, voice: str) -> Iterator[Clip | Failure]:
        """Say each text; one without anything to say, or Japanese in Chinese characters, is a failure.

        Raises:
            UserError: as :meth:`facts`.
        """
        facts = self.facts(language, voice)
        for text in texts:
            yield self._say(text, language, facts)

    def _say(self, text: str, language: str, facts: dict[str, Any]) -> Clip | Failure:
        if language_tag(language) == "ja" and (unread := _KANJI.search(text)):
            return Failure(f"espeak-ng reads kana only, and the text has {unread[0]}")
        self._synthesizer.reset()
        try:
            speech = self._synthesizer.speak(text, facts["voice"], facts["rate_wpm"], facts["pitch"])
        except UserError as error:
            return Failure(str(error))
        return speech.waveform.astype(np.float32) * _SCALE, speech.sample_rate_hz

    def _accent(self, language: str) -> str:
        tag = language_tag(language)
        accent = self._accents.get(tag) or _accents().get(tag) or _accents().get(tag.split("-")[0])
        if accent is None:
            raise UserError(
                f"espeak-ng has no voice for {language}: give its voice file in --synthesizer.espeak.accents, or take "
                "another synthesizer"
            )
        return accent


def _data_folder() -> Path:
    return Path(importlib.import_module("espeakng_loader").get_data_path())


@functools.cache
def _accents() -> dict[str, str]:
    """Language tag to the voice file that claims it most: each file says its languages, the best with small numbers."""
    claims: dict[str, tuple[int, str]] = {}
    folder = _data_folder() / "lang"
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        voice = file.relative_to(folder).as_posix()
        for tag, priority in _languages(file):
            claims[tag] = min(claims.get(tag, (priority, voice)), (priority, voice))
    return {tag: voice for tag, (_, voice) in claims.items()}


def _languages(voice_file: Path) -> Iterator[tuple[str, int]]:
    for line in voice_file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "language":
            continue
        try:
            yield language_tag(words[1]), int(words[2]) if len(words) > 2 else _PRIORITY
        except UserError:
            continue  # espeak-ng's own tags (en-gb-x-rp)


@functools.cache
def _check_variant(variant: str) -> None:
    """Make sure that there is a variant, and that it sounds the same in every run.

    Raises:
        UserError: there is not, or it does not.
    """
    file = _data_folder() / "voices" / "!v" / variant
    if not variant or "/" in variant or not file.is_file():
        raise UserError(
            f"espeak-ng has no variant {variant!r}; it has m1, f4, adam and others, as `espeak-ng --voices`"
        )
    if re.search(r"^\s*breath\b", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
        raise UserError(f"the variant {variant} of espeak-ng has breath, which differs from run to run: take another")
