"""Pairs made into spoken chains of one language, a block at a time: translated, spoken, heard, kept or left out.

A block is a pure function of its pairs, the language and what makes it. Its outcome is one file, written when all of
its recordings are there; so a run that is killed makes at most one block again, and the bytes are those of one that is
not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.corpora.chain_documents import FourTexts, chain_document
from cslm.corpora.instruction_pairs import InstructionPair
from cslm.corpora.intake import printable
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance
from cslm.evaluation.error_rates import text_errors
from cslm.evaluation.recognizers import Clip
from cslm.synthesis.failure import Failure
from cslm.synthesis.instructions_config import SpokenInstructionsConfig
from cslm.synthesis.listeners import Listener
from cslm.synthesis.other_language import OtherLanguage
from cslm.synthesis.ready_models import seed_of
from cslm.synthesis.synthesizers import SpeechSynthesizer
from cslm.synthesis.translation_checks import why_no_translation
from cslm.synthesis.translators import Translator

Record = dict[str, Any]
_FILES_PER_FOLDER = 1000


@dataclass(frozen=True)
class Makers:
    """What translates, speaks and hears."""

    translator: Translator
    synthesizer: SpeechSynthesizer
    listener: Listener | None
    other: OtherLanguage | None
    """tells texts of another language"""


@dataclass(frozen=True)
class _Line:
    """One text in one voice."""

    id: str
    pair: str
    text: str
    voice: str


@dataclass(frozen=True)
class _Told:
    """A pair with its translations."""

    pair: InstructionPair
    question: str
    answer: str


class BlockMaker:
    """Makes the blocks of one language."""

    def __init__(self, config: SpokenInstructionsConfig, makers: Makers, language: str, folder: Path) -> None:
        """Find the voices.

        Args:
            folder: of the corpus.

        Raises:
            UserError: a language that nothing speaks, translates or hears, or a voice that there is not.
        """
        self._config, self._makers, self.language, self._folder = config, makers, language, folder
        self.facts = {
            "translator": makers.translator.facts(config.core_language, language),
            "listener": None if makers.listener is None else makers.listener.facts(language),
        }
        known = makers.synthesizer.voices(language)
        chosen = {language_tag(tag): voices for tag, voices in config.voices.items()}
        self.voices = chosen.get(language) or known
        self._answers = {language_tag(tag): voice for tag, voice in config.answer_voices.items()}.get(
            language, known[0]
        )
        used = [*self.voices, *([self._answers] if config.speak_answers else [])]
        self.facts["voices"] = {voice: makers.synthesizer.facts(language, voice) for voice in used}

    def make(self, pairs: Sequence[InstructionPair]) -> Iterator[Record]:
        """The outcome of a block, each record with the ``pair`` that it is of.

        Of each recording that is kept its ``utterance``, of each chain its ``chain``, of what is left out ``rejected``,
        and of all that was listened to ``heard``.
        """
        told: list[_Told] = []
        for pair, found in zip(pairs, self._translated(pairs), strict=True):
            if isinstance(found, _Told):
                told.append(found)
            else:
                yield self._rejected(pair.id, f"{self.language}-{pair.id}", "translation", found.reason)
        kept: set[str] = set()
        for outcome in self._recorded([line for one in told for line in self._lines(one)]):
            if "utterance" in outcome:
                kept.add(outcome["utterance"]["id"])
            yield outcome
        for one in told:
            yield from self._chains(one, kept)

    def _translated(self, pairs: Sequence[InstructionPair]) -> Iterator[_Told | Failure]:
        core, texts = self._config.core_language, [text for pair in pairs for text in (pair.question, pair.answer)]
        found = self._makers.translator.translate(texts, core, self.language)
        checked = [self._checked(text, translation) for text, translation in zip(texts, found, strict=True)]
        for number, pair in enumerate(pairs):
            question, answer = checked[2 * number : 2 * number + 2]
            if isinstance(question, Failure):
                yield Failure(f"the question: {question.reason}")
            elif isinstance(answer, Failure):
                yield Failure(f"the answer: {answer.reason}")
            else:
                yield _Told(pair, question, answer)

    def _checked(self, text: str, translation: str | Failure) -> str | Failure:
        if isinstance(translation, Failure):
            return translation
        languages = self._config.core_language, self.language
        reason = why_no_translation(text, translation, *languages, self._config.length_ratio, self._makers.other)
        return translation if reason is None else Failure(reason)

    def _lines(self, told: _Told) -> Iterator[_Line]:
        generator = np.random.default_rng(seed_of(self._config.seed, self.language, told.pair.id))
        name = f"{self.language}-{told.pair.id}"
        for number in range(self._config.renderings):
            if number % len(self.voices) == 0:
                order = generator.permutation(self.voices).tolist()
            yield _Line(f"{name}-{number}", told.pair.id, told.question, str(order[number % len(self.voices)]))
        if self._config.speak_answers:
            yield _Line(f"{name}-answer", told.pair.id, told.answer, self._answers)

    def _recorded(self, lines: Sequence[_Line]) -> Iterator[Record]:
        """What becomes of each line; recordings that are kept are written."""
        clips = self._spoken(lines)
        good = [(line, clip) for line, clip in zip(lines, clips, strict=True) if not isinstance(clip, Failure)]
        texts = self._heard([clip for _, clip in good])
        heard = {line.id: text for (line, _), text in zip(good, texts, strict=True)}
        for line, clip in zip(lines, clips, strict=True):
            if isinstance(clip, Failure):
                yield self._rejected(line.pair, line.id, "speech", clip.reason)
            else:
                yield from self._judged(line, clip, heard[line.id])

    def _judged(self, line: _Line, clip: Clip, heard: str | Failure | None) -> Iterator[Record]:
        """What was heard in a recording, and whether it is kept; without a listener all are."""
        if isinstance(heard, Failure):
            yield self._rejected(line.pair, line.id, "hearing", heard.reason)
            return
        rate, most = 0.0, self._config.max_error_rate
        if heard is not None:
            rate = self._error_rate(line.text, heard)
            told = {"id": line.id, "language": self.language, "heard": heard, "error_rate": round(rate, 4)}
            yield {"pair": line.pair, "heard": told}
        if rate <= most:
            yield {"pair": line.pair, "utterance": asdict(self._written(line, clip))}
        else:
            reason = f"its error rate is {rate:.2f}, at most {most:g} is allowed: heard {heard!r}"
            yield self._rejected(line.pair, line.id, "hearing", reason)

    def _spoken(self, lines: Sequence[_Line]) -> list[Clip | Failure]:
        """A clip for each line, voice by voice."""
        clips: dict[str, Clip | Failure] = {}
        for voice in sorted({line.voice for line in lines}):
            of_voice = [line for line in lines if line.voice == voice]
            spoken = self._makers.synthesizer.speak([line.text for line in of_voice], self.language, voice)
            clips |= {line.id: clip for line, clip in zip(of_voice, spoken, strict=True)}
        return [clips[line.id] for line in lines]

    def _heard(self, clips: Sequence[Clip]) -> Sequence[str | Failure | None]:
        listener = self._makers.listener
        return [None] * len(clips) if listener is None or not clips else listener.hear(clips, self.language)

    def _error_rate(self, text: str, heard: str) -> float:
        counts = text_errors([text], [heard], self.language)
        return float(counts.errors[0]) / max(1, int(counts.lengths[0]))

    def _written(self, line: _Line, clip: Clip) -> Utterance:
        waveform, rate_hz = clip
        path = f"audio/{self.language}/{int(line.pair) // _FILES_PER_FOLDER:03d}/{line.id}.wav"
        save_waveform(self._folder / path, waveform, rate_hz)
        shared = self._makers.synthesizer.names_are_speakers
        return Utterance(
            id=line.id,
            audio=path,
            text=line.text,
            language=self.language,
            duration_sec=round(len(waveform) / rate_hz, 6),
            speaker=line.voice if shared else f"{self.language}-{line.voice}",
        )

    def _chains(self, told: _Told, kept: set[str]) -> Iterator[Record]:
        """A chain for each rendering of a question that was kept; none where a spoken answer is wanted and was not."""
        name, config = f"{self.language}-{told.pair.id}", self._config
        texts = FourTexts(
            self.language, told.question, config.core_language, told.pair.question, told.pair.answer, self.language,
            told.answer,
        )  # fmt: skip
        answer = f"{name}-answer" if config.speak_answers else None
        for number in range(config.renderings):
            question = f"{name}-{number}"
            if question not in kept:
                continue
            if answer is None or answer in kept:
                yield {"pair": told.pair.id, "chain": chain_document(question, question, texts, answer)}
            else:
                yield self._rejected(told.pair.id, f"{question}-chain", "answer", "its answer was not kept")

    def _rejected(self, pair: str, name: str, kind: str, reason: str) -> Record:
        told = {"id": name, "audio": "", "reason": printable(reason), "kind": f"{kind}, {self.language}"}
        return {"pair": pair, "rejected": told}
