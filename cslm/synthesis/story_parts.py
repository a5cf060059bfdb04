"""Parts of a corpus of stories: sentences, their translations and their recordings, a few stories at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cslm.batches.order import name_seed
from cslm.configuration import to_plain
from cslm.synthesis.failure import Failure
from cslm.synthesis.made_records import MadeRecords, Row
from cslm.synthesis.recordings import Recording, RecordingConfig, Recordings, Wanted
from cslm.synthesis.story_sentences import sentences_of
from cslm.synthesis.story_translations import translated
from cslm.synthesis.synthesizer_config import SynthesizerConfig
from cslm.synthesis.synthesizers import SpeechSynthesizer, open_synthesizer
from cslm.synthesis.translation_filters import TranslationFilters, num_letters
from cslm.synthesis.translator_config import TranslatorConfig
from cslm.synthesis.translators import Translator, open_translator

STORIES_OF_A_PART = 32
"""Stories that are translated together and kept in one record."""


@dataclass(frozen=True)
class Telling:
    """How stories are told: all that decides a part besides its texts."""

    source: str
    targets: tuple[str, ...]
    splitter: str
    min_sentences: int
    max_sentences: int
    max_letters: int
    cut_at_failure: bool
    seed: int
    filters: TranslationFilters
    translator: TranslatorConfig
    synthesizer: SynthesizerConfig
    recordings: RecordingConfig

    @property
    def languages(self) -> list[str]:
        """All of them, the source first."""
        return [self.source, *self.targets]


@dataclass(frozen=True)
class ToldStory:
    """A story in all languages."""

    name: str
    texts: dict[str, list[str]]
    """Its sentences, by language; as many in each."""
    fault: str | None = None
    """Why it ends before its end, or is not told at all (no sentences)."""

    @property
    def length(self) -> int:
        """How many sentences it has."""
        return len(next(iter(self.texts.values()), []))

    def ended(self, length: int, fault: str) -> ToldStory:
        """Its first ``length`` sentences, and why there are no more."""
        return replace(self, texts={language: said[:length] for language, said in self.texts.items()}, fault=fault)


class Teller:
    """Tells stories; opened once a process."""

    def __init__(self, telling: Telling, folder: Path, records: Path) -> None:
        """Open translator and synthesizer.

        Args:
            telling: how stories are told.
            folder: of the corpus.
            records: folder of what is made on the way.

        Raises:
            UserError: one of them cannot be used.
        """
        self.telling = telling
        self.records = MadeRecords(records)
        self.synthesizer: SpeechSynthesizer = open_synthesizer(telling.synthesizer)
        self.recordings = Recordings(folder, self.synthesizer, telling.recordings)
        self.translator: Translator | None = open_translator(telling.translator) if telling.targets else None

    def told(self, stories: Sequence[tuple[str, str]]) -> list[ToldStory]:
        """Each story in all languages; nothing is spoken.

        Args:
            stories: name and text of each.

        Raises:
            UserError: the translator cannot be used at all.
        """
        split = [(name, sentences_of(text, self.telling.source, self.telling.splitter)) for name, text in stories]
        split = [(name, sentences) if self._fits(sentences) else (name, []) for name, sentences in split]
        texts = [text for _, sentences in split for text in sentences]
        by_language: dict[str, list[str | Failure]] = {self.telling.source: list(texts)}
        for target in self.telling.targets:
            assert self.translator is not None
            source, filters = self.telling.source, self.telling.filters
            by_language[target] = translated(texts, source, target, self.translator, filters, self.records)
        told, start = list[ToldStory](), 0
        for (name, sentences), (_, text) in zip(split, stories, strict=True):
            stop = start + len(sentences)
            if sentences:
                told.append(self._told(name, {code: said[start:stop] for code, said in by_language.items()}))
            else:
                told.append(ToldStory(name, {}, self._misfit(text)))
            start = stop
        return told

    def facts(self, speakers: Sequence[Row]) -> dict[str, Any]:
        """All that decides a part besides its texts, as plain values.

        Raises:
            UserError: the translator or the synthesizer does not know the languages or the voices.
        """
        source, targets = self.telling.source, self.telling.targets
        voices = [[row["id"], self._voices(row["voices"])] for row in speakers]
        translators = {code: self.translator.facts(source, code) for code in targets if self.translator is not None}
        plain = to_plain(self.telling)
        settings = {name: value for name, value in plain.items() if name not in ("translator", "synthesizer")}
        return {**settings, "translators": translators, "speakers": voices}

    def keep_part(self, stories: Sequence[tuple[str, str]], speakers: Sequence[Row]) -> str:
        """The name of a record with a row a story, which is made where it is not there yet.

        A row holds ``texts``, ``audio`` and ``speaker`` of a story, and where it ends before its end ``cut``, the
        reason; or the ``reason`` why it is not told.

        Args:
            stories: name and text of each.
            speakers: the kept ones, of whom one is drawn for each story.

        Raises:
            UserError: the translator or the synthesizer cannot be used at all.
        """
        decided_by = {"what": "stories", "stories": [list(one) for one in stories], **self.facts(speakers)}
        return self.records.keep(decided_by, lambda: self._part(stories, speakers))

    def _voices(self, voices: dict[str, str]) -> dict[str, Any]:
        return {language: self.synthesizer.facts(language, voice) for language, voice in voices.items()}

    def _part(self, stories: Sequence[tuple[str, str]], speakers: Sequence[Row]) -> list[Row]:
        told = self.told(stories)
        drawn = [speakers[speaker_of(story.name, len(speakers), self.telling.seed)] for story in told]
        wanted = [
            Wanted(text, language, speaker["voices"][language])
            for story, speaker in zip(told, drawn, strict=True)
            for language, said in story.texts.items()
            for text in said
        ]
        spoken = iter(self.recordings.record(wanted))
        rows = []
        for story, speaker in zip(told, drawn, strict=True):
            recorded = {language: [next(spoken) for _ in said] for language, said in story.texts.items()}
            rows.append(self._row(story, recorded, str(speaker["id"])))
        return rows

    def _fits(self, sentences: Sequence[str]) -> bool:
        return self.telling.min_sentences <= len(sentences) <= self.telling.max_sentences

    def _misfit(self, text: str) -> str:
        found = len(sentences_of(text, self.telling.source, self.telling.splitter))
        return f"has {found} sentences, {self.telling.min_sentences} to {self.telling.max_sentences} are wanted"

    def _told(self, name: str, said: dict[str, list[str | Failure]]) -> ToldStory:
        """A story up to the first sentence that a language has not, or that is too long."""
        length = len(said[self.telling.source])
        texts = {code: [text if isinstance(text, str) else "" for text in ones] for code, ones in said.items()}
        story = ToldStory(name, texts)
        for place in range(length):
            for language, ones in said.items():
                text = ones[place]
                fault = text.reason if isinstance(text, Failure) else self._too_long(text)
                if fault is not None:
                    return self._ended(story, place, f"sentence {place} in {language}: {fault}")
        return story

    def _too_long(self, text: str) -> str | None:
        letters, most = num_letters(text), self.telling.max_letters
        return f"has {letters} letters, {most} at most are wanted" if letters > most else None

    def _ended(self, story: ToldStory, length: int, fault: str) -> ToldStory:
        """A story that cannot go on: cut where that is wanted and enough is left, otherwise not told."""
        is_cut = self.telling.cut_at_failure and length >= self.telling.min_sentences
        return story.ended(length if is_cut else 0, fault)

    def _row(self, story: ToldStory, recorded: dict[str, list[Recording | Failure]], speaker: str) -> Row:
        for place in range(story.length):
            failed = [(code, found[place]) for code, found in recorded.items() if isinstance(found[place], Failure)]
            if failed:
                language, failure = failed[0]
                assert isinstance(failure, Failure)
                story = self._ended(story, place, f"sentence {place} in {language}: {failure.reason}")
                break
        if not story.length:
            return {"id": story.name, "reason": story.fault}
        audio = {
            code: [(one.path, one.duration_sec) for one in found[: story.length] if isinstance(one, Recording)]
            for code, found in recorded.items()
        }
        return {"id": story.name, "speaker": speaker, "texts": story.texts, "audio": audio, "cut": story.fault}


def speaker_of(name: str, count: int, seed: int) -> int:
    """Which of the speakers tells a story: drawn for each story on its own."""
    return int(np.random.default_rng(name_seed(seed, f"speaker of {name}")).integers(count))
