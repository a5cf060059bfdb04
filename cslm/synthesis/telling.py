"""Stories told by a translator and a synthesizer: what decides them, who tells them, and processes side by side."""

from __future__ import annotations

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from cslm.corpora.intake import MAX_REJECTED_SHARE
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.files.progress import progress_bar
from cslm.ranges import Range, check_numbers
from cslm.synthesis.made_records import MadeRecords, Row
from cslm.synthesis.recordings import RecordingConfig
from cslm.synthesis.speakers_config import SpeakersConfig
from cslm.synthesis.story_parts import STORIES_OF_A_PART, Teller, Telling
from cslm.synthesis.story_speakers import SPEAKERS, pair_speakers
from cslm.synthesis.synthesizer_config import SynthesizerConfig
from cslm.synthesis.translation_filters import TranslationFilters
from cslm.synthesis.translator_config import TranslatorConfig
from cslm.synthesis.written_stories import STORIES

MADE = ".made"
"""Folder of what is made on the way, in the corpus until it is whole."""
_STORIES_TO_HEAR_VOICES_BY = 8
_PARTS_AHEAD = 2  # of each process: texts that wait in memory

Texts = Callable[[], Iterator[tuple[str, str]]]
"""Name and text of each story, from the first on each time."""


@dataclass(kw_only=True)
class TellingConfig:
    """In which languages stories are told, and what translates and says them."""

    LISTED: ClassVar[str] = STORIES
    """what was taken, a row each, beside what was rejected"""
    HOW_IT_RUNS: ClassVar[tuple[str, ...]] = (
        "num_workers",
        "speakers.device",
        "translator.seq2seq.device",
        "translator.chat.cache",
        "translator.chat.endpoint.base_url",
        "translator.chat.endpoint.api_key_variable",
        "translator.chat.endpoint.timeout_sec",
        "translator.chat.endpoint.max_retries",
        "translator.chat.endpoint.num_parallel",
        "translator.chat.endpoint.max_failures_in_a_row",
        "synthesizer.vits.device",
        "synthesizer.speecht5.device",
        "synthesizer.endpoint.base_url",
        "synthesizer.endpoint.api_key_variable",
        "synthesizer.endpoint.timeout_sec",
        "synthesizer.endpoint.max_retries",
        "synthesizer.endpoint.num_parallel",
        "synthesizer.endpoint.max_failures_in_a_row",
    )
    """settings that do not decide the corpus: a run goes on with others"""

    source: str
    """BCP 47 language of the texts: en."""
    targets: list[str]
    """Languages that they are translated into: [fr]. Empty: one language, and no translator."""
    synthesizer: SynthesizerConfig
    """what says them"""
    translator: TranslatorConfig = field(default_factory=TranslatorConfig)
    """what translates them"""
    filters: TranslationFilters = field(default_factory=TranslationFilters)
    """which translations are none"""
    speakers: SpeakersConfig = field(default_factory=SpeakersConfig)
    """who tells them"""
    recordings: RecordingConfig = field(default_factory=RecordingConfig)
    """which recordings are kept"""
    max_letters: int = 400
    """A longer sentence, in any language, cannot be used; a wide letter counts twice."""
    seed: int = 0
    """Draws speakers and tests, for each story on its own."""
    num_workers: int = 1
    """Processes that work side by side, each with its own models. The corpus does not depend on it."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share of the stories is left out, the command ends with status 2; the others are there."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name, or languages that are none or the same.
        """
        check_numbers(self, "", max_letters=Range(least=1), num_workers=Range(least=1))
        self.source, self.targets = language_tag(self.source), [language_tag(target) for target in self.targets]
        if len({self.source, *self.targets}) <= len(self.targets):
            raise UserError(f"--targets: {', '.join([self.source, *self.targets])} are not all different languages")

    def telling(self, splitter: str, min_sentences: int, max_sentences: int, cut_at_failure: bool) -> Telling:
        """What decides a part of the corpus."""
        return Telling(
            self.source,
            tuple(self.targets),
            splitter,
            min_sentences,
            max_sentences,
            self.max_letters,
            cut_at_failure,
            self.seed,
            self.filters,
            self.translator,
            self.synthesizer,
            self.recordings,
        )


class Told(NamedTuple):
    """Stories that are told and spoken."""

    rows: Callable[[], Iterator[Row]]
    """A row a story, from the first on each time: as :meth:`Teller.keep_part` makes them."""
    facts: dict[str, Any]
    """What decided them, for the card."""
    records: MadeRecords
    """What was made on the way; to be removed when the corpus is written."""


def tell(texts: Texts, telling: Telling, config: TellingConfig, output: Path, source: str) -> Told:
    """Tell all stories, or go on where a run was killed; writes ``speakers.jsonl`` and the audio.

    Args:
        texts: of the stories.
        telling: what decides a part.
        config: who tells them, and how many side by side.
        output: folder of the corpus.
        source: where the texts come from, for messages.

    Raises:
        UserError: translator, synthesizer or verifier cannot be used, or there is no text.
    """
    teller = Teller(telling, output, output / MADE)
    speakers = _speakers(texts, teller, config.speakers, source)
    write_json_lines(speakers, output / SPEAKERS)
    kept = [row for row in speakers if row["kept"]]
    facts = teller.facts(kept)  # what does not know a language is said before anything is made
    parts = _parts(texts(), teller, kept, config.num_workers, output)
    keys = list(progress_bar(parts, None, f"stories, {STORIES_OF_A_PART} at a time"))
    return Told(lambda: itertools.chain.from_iterable(map(teller.records.read, keys)), facts, teller.records)


def _speakers(texts: Texts, teller: Teller, config: SpeakersConfig, source: str) -> list[Row]:
    """The speakers, heard by sentences of the first stories."""
    first = list(itertools.islice(texts(), _STORIES_TO_HEAR_VOICES_BY))
    if not first:
        raise UserError(f"{source}: holds no text")
    told = teller.told(first) if config.verifier is not None else []
    languages = teller.telling.languages
    said = {language: [text for story in told for text in story.texts.get(language, [])] for language in languages}
    if config.verifier is not None and not said[languages[0]]:
        raise UserError(f"{source}: none of the first {len(first)} stories can be told, to hear voices by")
    return pair_speakers(config, teller.synthesizer, said, teller.recordings, teller.records)


def _parts(
    texts: Iterator[tuple[str, str]], teller: Teller, speakers: Sequence[Row], num_workers: int, output: Path
) -> Iterator[str]:
    """The record of each part, in order, made here or side by side."""
    parts = iter(lambda: list(itertools.islice(texts, STORIES_OF_A_PART)), [])
    if num_workers == 1:
        for part in parts:
            yield teller.keep_part(part, speakers)
        return
    context = multiprocessing.get_context("spawn")
    opened = (teller.telling, output, output / MADE, speakers)
    with ProcessPoolExecutor(num_workers, context, _open_worker, opened) as pool:
        waiting: deque[Future[str]] = deque()
        for part in parts:
            waiting.append(pool.submit(_work, part))
            if len(waiting) > _PARTS_AHEAD * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_WORKER: list[tuple[Teller, Sequence[Row]]] = []
"""What a process that works beside others has opened."""


def _open_worker(telling: Telling, output: Path, records: Path, speakers: Sequence[Row]) -> None:
    _WORKER[:] = [(Teller(telling, output, records), speakers)]


def _work(part: list[tuple[str, str]]) -> str:
    teller, speakers = _WORKER[0]
    return teller.keep_part(part, speakers)
