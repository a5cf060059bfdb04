"""Pairs made into spoken chains of one language, a block at a time: translated, spoken, heard, kept or left out.

What each step makes is kept under the hash of all that decides it. So a run that is killed makes at most the step of
one block again, and the bytes are those of one that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cslm.corpora.chain_documents import FourTexts, chain_document
from cslm.corpora.instruction_pairs import InstructionPair
from cslm.corpora.intake import printable
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.evaluation.error_rates import text_errors
from cslm.synthesis.failure import Failure
from cslm.synthesis.instructions_config import SpokenInstructionsConfig
from cslm.synthesis.listeners import Listener
from cslm.synthesis.made_records import MadeRecords, Row
from cslm.synthesis.ready_models import seed_of
from cslm.synthesis.recordings import Recording, Recordings, Wanted, check_voice
from cslm.synthesis.story_translations import translated
from cslm.synthesis.synthesizers import SpeechSynthesizer
from cslm.synthesis.translators import Translator


@dataclass(frozen=True)
class Makers:
    """What translates, speaks and hears, and where it is kept."""

    translator: Translator
    synthesizer: SpeechSynthesizer
    recordings: Recordings
    listener: Listener | None
    records: MadeRecords


@dataclass(frozen=True)
class _Line:
    """One text in one voice."""

    id: str
    pair: str
    said: Wanted


@dataclass(frozen=True)
class _Told:
    """A pair with its translations."""

    pair: InstructionPair
    question: str
    answer: str


class BlockMaker:
    """Makes the blocks of one language."""

    def __init__(self, config: SpokenInstructionsConfig, makers: Makers, language: str) -> None:
        """Find the voices.

        Raises:
            UserError: a language that nothing speaks, translates or hears, or a voice that there is not.
        """
        self._config, self._makers, self.language = config, makers, language
        known = makers.synthesizer.voices(language)
        asking = {language_tag(tag): voices for tag, voices in config.voices.items()}
        answering = {language_tag(tag): voice for tag, voice in config.answer_voices.items()}
        self._voices = list(dict.fromkeys(asking.get(language) or known))
        self._answers = answering.get(language, known[0])
        used = dict.fromkeys([*self._voices, *([self._answers] if config.speak_answers else [])])
        for voice in used:
            check_voice(makers.synthesizer, language, voice)
        if config.renderings > len(self._voices):
            raise UserError(f"renderings is {config.renderings}, but {language} has {len(self._voices)} voices")
        self.facts: dict[str, Any] = {
            "translator": makers.translator.facts(config.core_language, language),
            "voices": {voice: makers.synthesizer.facts(language, voice) for voice in used},
            "listener": None if makers.listener is None else makers.listener.facts(language),
        }

    def make(self, pairs: Sequence[InstructionPair]) -> Iterator[tuple[str, str, Row]]:
        """Kind, pair and row of each outcome of a block.

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
        for kind, name, row in self._recorded([line for one in told for line in self._lines(one)]):
            if kind == "utterance":
                kept.add(row["id"])
            yield kind, name, row
        for one in told:
            yield from self._chains(one, kept)

    def _translated(self, pairs: Sequence[InstructionPair]) -> Iterator[_Told | Failure]:
        config, makers = self._config, self._makers
        texts = [text for pair in pairs for text in (pair.question, pair.answer)]
        languages = config.core_language, self.language
        found = translated(texts, *languages, makers.translator, config.filters, makers.records)
        for number, pair in enumerate(pairs):
            question, answer = found[2 * number : 2 * number + 2]
            if isinstance(question, Failure):
                yield Failure(f"the question: {question.reason}")
            elif isinstance(answer, Failure):
                yield Failure(f"the answer: {answer.reason}")
            else:
                yield _Told(pair, question, answer)

    def _lines(self, told: _Told) -> Iterator[_Line]:
        generator = np.random.default_rng(seed_of(self._config.seed, self.language, told.pair.id))
        name = f"{self.language}-{told.pair.id}"
        drawn = generator.permutation(self._voices).tolist()
        for number, voice in enumerate(drawn[: self._config.renderings]):
            yield _Line(f"{name}-{number}", told.pair.id, Wanted(told.question, self.language, voice))
        if self._config.speak_answers:
            yield _Line(f"{name}-answer", told.pair.id, Wanted(told.answer, self.language, self._answers))

    def _recorded(self, lines: Sequence[_Line]) -> Iterator[tuple[str, str, Row]]:
        """What becomes of each line."""
        found = self._makers.recordings.record([line.said for line in lines])
        good = {line.said: one for line, one in zip(lines, found, strict=True) if isinstance(one, Recording)}
        heard = self._heard(good)
        for line, recording in zip(lines, found, strict=True):
            if isinstance(recording, Failure):
                yield self._rejected(line.pair, line.id, "speech", recording.reason)
            else:
                yield from self._judged(line, recording, heard[line.said])

    def _heard(self, said: dict[Wanted, Recording]) -> dict[Wanted, Row | None]:
        """What is heard in each recording: ``text``, or the ``reason`` why nothing is; None without a listener."""
        listener = self._makers.listener
        if listener is None or not said:
            return dict.fromkeys(said)
        paths = [recording.path for recording in said.values()]
        decided_by = {"what": "hearing", "listener": listener.facts(self.language), "recordings": paths}

        def make() -> Iterator[Row]:
            clips = self._makers.recordings.clips(list(said))
            there = [clip for clip in clips if not isinstance(clip, Failure)]
            assert len(there) == len(clips), "recordings that are there can be read"
            for text in listener.hear(there, self.language):
                yield {"reason": text.reason} if isinstance(text, Failure) else {"text": text}

        return dict(zip(said, self._makers.records.rows(decided_by, make), strict=True))

    def _judged(self, line: _Line, recording: Recording, heard: Row | None) -> Iterator[tuple[str, str, Row]]:
        """What was heard in a recording, and whether it is kept; without a listener all are."""
        if heard is not None and "reason" in heard:
            yield self._rejected(line.pair, line.id, "hearing", heard["reason"])
            return
        rate, most = 0.0, self._config.max_error_rate
        if heard is not None:
            rate, text = self._error_rate(line.said.text, heard["text"]), heard["text"]
            row = {"id": line.id, "language": self.language, "heard": text, "error_rate": round(rate, 4)}
            yield "heard", line.pair, row
        if heard is not None and rate > most:
            reason = f"its error rate is {rate:.2f}, at most {most:g} is allowed: heard {heard['text']!r}"
            yield self._rejected(line.pair, line.id, "hearing", reason)
        else:
            yield "utterance", line.pair, asdict(self._utterance(line, recording))

    def _error_rate(self, text: str, heard: str) -> float:
        counts = text_errors([text], [heard], self.language)
        return float(counts.errors[0]) / max(1, int(counts.lengths[0]))

    def _utterance(self, line: _Line, recording: Recording) -> Utterance:
        shared = self._makers.synthesizer.names_are_speakers
        return Utterance(
            id=line.id,
            audio=recording.path,
            text=line.said.text,
            language=self.language,
            duration_sec=recording.duration_sec,
            speaker=line.said.voice if shared else f"{self.language}-{line.said.voice}",
        )

    def _chains(self, told: _Told, kept: set[str]) -> Iterator[tuple[str, str, Row]]:
        """A chain for each rendering of a question that was kept; none where a spoken answer is wanted and was not."""
        name, config = f"{self.language}-{told.pair.id}", self._config
        texts = FourTexts(
            self.language, told.question, config.core_language, told.pair.question, told.pair.answer, self.language,
            told.answer,
        )  # fmt: skip
        answer = f"{name}-answer" if config.speak_answers else None
        for question in (f"{name}-{number}" for number in range(config.renderings)):
            if question not in kept:
                continue
            if answer is None or answer in kept:
                yield "chain", told.pair.id, chain_document(question, question, texts, answer)
            else:
                yield self._rejected(told.pair.id, f"{question}-chain", "answer", "its answer was not kept")

    def _rejected(self, pair: str, name: str, kind: str, reason: str) -> tuple[str, str, Row]:
        return "rejected", pair, rejected_row(name, f"{kind}, {self.language}", reason)


def rejected_row(name: str, kind: str, reason: str) -> Row:
    """A line of the list of what was left out."""
    return {"id": name, "audio": "", "reason": printable(reason), "kind": kind}
