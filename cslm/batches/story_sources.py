"""Sources of speech alone: stories of a unit store, or utterances of it, joined to documents of the context's length.

A document that joins several of them begins where the one before it ended, as far as mean lengths tell, in an order
that is another in every epoch; so an epoch reads each about once. The last is cut where the document is full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import count

import numpy as np
import numpy.typing as npt

from cslm.batches.document_index import IndexFolder
from cslm.batches.order import mix, permuted_draw
from cslm.batches.parts import Part
from cslm.batches.source_checks import checked_settings, kept_rows, not_empty, open_store, row_of
from cslm.batches.source_config import WHOLE, CommonSource, SourceConfig, Told
from cslm.batches.story_table import StoryTable, story_table
from cslm.errors import UserError
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.stories import draw_languages, joined
from cslm.sequences.tasks import TASKS, Draw, Example
from cslm.units.store import StoreRow

_SAMPLE = 64
_LANGUAGE_SAMPLE = 512


class JoinedSource(CommonSource):
    """Contents of a store, joined to documents, or each a document by itself.

    Raises:
        UserError: a key out of range; as :func:`~cslm.batches.source_checks.open_store`.
    """

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat) -> None:
        super().__init__(name, config)
        self.task, self._form, self._settings = config.task, form, checked_settings(name, config, form)
        self.store = open_store(name, config, form)
        assert config.joined_tokens is not None, f"nobody said to what length the source {name} is joined"
        if config.joined_tokens < 0 or config.joined_tokens == 1:
            raise UserError(f"the source {name} has joined_tokens {config.joined_tokens}: give 0, or 2 or more")
        self._length = config.joined_tokens

    def _found(self, num_contents: int) -> None:
        """So many contents there are; a source says it when it is ready to write them."""
        self.num_contents, self._per_document = num_contents, 1
        if self._length:
            places = np.unique(np.linspace(0, num_contents - 1, _SAMPLE).round().astype(np.int64)).tolist()
            mean = float(np.mean([len(self.content(place, place, 1.0)) for place in places]))
            self._per_document = max(1, round(self._length / mean))
            about = f"about {self._per_document:,} in a row, of {num_contents:,}, the last of them cut"
            self.told.append(Told(f"a document has {self._length:,} ids: {about}"))
        self.num_documents = -(-num_contents // self._per_document)

    def content(self, index: int, draw_seed: int, progress: float) -> Sequence:
        """The content ``index`` by itself."""
        found = Example({}, self.utterances(index, draw_seed), self.store.frame_rate_hz, str(self.store.path))
        return TASKS[self.task].write(self._form, found, Draw(draw_seed, progress, self._settings))

    def utterances(self, index: int, draw_seed: int) -> tuple[StoreRow, ...]:
        """What is said in the content ``index``; a source finds this itself."""
        raise AssertionError(f"{type(self).__name__} has no contents")

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index`` of the contents in the order of the store."""
        first, total = index * self._per_document, self.num_contents
        return self._full(self.content(turn % total, mix(draw_seed, turn), progress) for turn in count(first))

    @cached_property
    def language_shares(self) -> dict[str, float]:
        """Share of each language in the ids of a sample of contents, drawn more than once where there are few."""
        languages: Counter[str] = Counter()
        for number in range(_LANGUAGE_SAMPLE):
            document = self.content(number * self.num_contents // _LANGUAGE_SAMPLE, number, 1.0)
            for span in document.spans:
                languages[span.language] += span.stop - span.start
        return {language: ids / languages.total() for language, ids in languages.items()}

    def drawn(self, draw: int, seed: int, progress: float) -> Sequence:
        """The document of draw ``draw``: the contents whose turn it is, in the order of their epoch."""
        first = draw * self._per_document
        turns = ((turn, permuted_draw(seed, turn, self.num_contents)) for turn in count(first))
        document = self._full(self.content(place, mix(seed, turn), progress) for turn, place in turns)
        return self.learnt(document, mix(seed, draw))

    def _full(self, contents: Iterator[Sequence]) -> Sequence:
        """As many contents as fill a document; one, where they are not joined."""
        found = [next(contents)]
        length = len(found[0])
        while length < self._length:
            found.append(next(contents))
            length += len(found[-1])
        if not self._length:
            return found[0]
        document = joined(found) if len(found) > 1 else found[0]
        return document if len(document) == self._length else document.window(0, self._length)


class SpeechSource(JoinedSource):
    """Utterances of a store, units alone: ``speech``."""

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        form: SequenceFormat,
        part: Part = WHOLE,
        kept_in: IndexFolder | None = None,
    ) -> None:
        super().__init__(name, config, form)
        keep = kept_rows(name, self.store, {"language": config.languages, "speaker": config.speakers}, part)
        self._rows = np.flatnonzero(keep).astype(np.int64)
        self.languages = sorted(set(self.store.languages()[keep].tolist()))
        self._found(not_empty(name, config, len(self._rows)))

    def utterances(self, index: int, draw_seed: int) -> tuple[StoreRow, ...]:
        """The utterance ``index``."""
        return (row_of(self.store, int(self._rows[index]), with_words=False),)


class StorySource(JoinedSource):
    """Stories of a store, each sentence in a language drawn for it: ``story``.

    Raises:
        UserError: a key out of range; no story; or a key that asks for switches where there are none.
    """

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        form: SequenceFormat,
        part: Part = WHOLE,
        kept_in: IndexFolder | None = None,
    ) -> None:
        super().__init__(name, config, form)
        keep = kept_rows(name, self.store, {"language": config.languages, "speaker": config.speakers})
        self._stories = story_table(self.store, keep, part)
        self.told, self.languages = [*self._stories.told], self._stories.languages
        num_stories = not_empty(name, config, len(self._stories))
        if not part.held_out:
            _check_switches(name, config, self._stories)
        uniform = (len(self.languages) - 1) / len(self.languages)
        given = config.switch_probability
        self._switch_probability, self._shortest_run = uniform if given is None else given, config.shortest_run
        _, self._speaker = self.store.numbered("speaker")
        self._found(num_stories)

    def utterances(self, index: int, draw_seed: int) -> tuple[StoreRow, ...]:
        """The sentences of the story ``index`` in languages, and where there are several voices in voices, drawn."""
        stories, generator = self._stories, np.random.default_rng(draw_seed)
        sentences = list(stories.sentences(index))
        available = [list(dict.fromkeys(stories.language[inside].tolist())) for inside in sentences]
        languages = draw_languages(available, generator, self._switch_probability, self._shortest_run)
        voices: dict[int, int] = {}
        found = []
        for inside, language in zip(sentences, languages, strict=True):
            candidates = stories.rows[inside][stories.language[inside] == language]
            row = self._draw_voice(candidates, voices.get(language), [*voices.values()], generator)
            voices.setdefault(language, int(self._speaker[row]))
            found.append(row_of(self.store, row, with_words=False))
        return tuple(found)

    def _draw_voice(
        self, rows: npt.NDArray[np.int64], own: int | None, heard: list[int], generator: np.random.Generator
    ) -> int:
        """One of the rows that say a sentence: in the voice of its language so far, else in one that was heard."""
        if len(rows) == 1:
            return int(rows[0])
        speakers = self._speaker[rows]
        for known in ([own], heard):
            same = rows[np.isin(speakers, [speaker for speaker in known if speaker is not None])]
            if len(same):
                return int(same[0])
        return int(generator.choice(rows))


def _check_switches(name: str, config: SourceConfig, stories: StoryTable) -> None:
    """Make sure that languages can change where that is asked for.

    Raises:
        UserError: a key out of range, one language alone, or stories that have no sentence in two languages.
    """
    probability = config.switch_probability
    if probability is not None and not 0 <= probability <= 1:
        raise UserError(f"the source {name} has switch_probability {probability}: give 0 to 1")
    if config.shortest_run < 1:
        raise UserError(f"the source {name} has shortest_run {config.shortest_run}: give 1 or more")
    if len(stories.languages) < 2:
        key, value = (
            ("switch_probability", probability) if config.shortest_run == 1 else ("shortest_run", config.shortest_run)
        )
        if value is not None:
            (language,) = stories.languages
            raise UserError(f"the source {name} has {key} {value}, and stories in {language} alone: leave it out")
    elif not stories.num_together and probability != 0:
        raise UserError(
            f"the source {name} has stories in {', '.join(stories.languages)}, and no sentence of them is there in two "
            "languages: say in the manifest which belong together (document and place, or group), name one language, "
            "or set switch_probability 0"
        )
