"""Aligned stories from texts: sentences, translated one by one, told by the same speaker in every language (paper XLI).

Texts -> sentences -> translations -> speech -> manifests in which every sentence knows its story, its place in it and
its group. What is made is kept as it is made: a run that was killed goes on, and comes out as if nobody had disturbed
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.synthesis.story_sentences import SPLITTERS, check_splitter
from cslm.synthesis.story_texts import StoryTextsConfig, story_texts, texts_origin
from cslm.synthesis.telling import MADE, TellingConfig, tell
from cslm.synthesis.written_stories import remove_unheard, write_card, write_stories


@dataclass(kw_only=True)
class StoriesConfig(TellingConfig):
    """Which texts, in which languages, and what translates and says them."""

    texts: StoryTextsConfig
    """where the texts come from"""
    splitter: str = "sentencex"
    """How texts become sentences: sentencex (extra stories; some 300 languages), punctuation (plain rules), lines (a
    line is a sentence)."""
    min_sentences: int = 2
    """A shorter story is left out."""
    max_sentences: int = 100
    """A longer story is left out."""
    cut_at_failure: bool = False
    """Where a sentence cannot be used: whether the story ends before it (and is noted), or is left out whole."""
    test_share: float = 0.01
    """Share of the stories that are kept for tests, drawn by the seed."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name, or languages that are none or the same.
        """
        super().__post_init__()
        check_numbers(self, "", min_sentences=Range(least=1), max_sentences=Range(least=self.min_sentences))
        check_numbers(self, "", test_share=Range(0, 1))
        if self.splitter not in SPLITTERS:
            raise UserError(f"--splitter is one of {', '.join(SPLITTERS)}, not {self.splitter!r}")


def prepare_stories(output: Path, config: StoriesConfig) -> None:
    """Write ``story_train.jsonl``, ``story_test.jsonl``, ``stories.jsonl``, ``speakers.jsonl``, ``card.json``, audio.

    Raises:
        UserError: texts, translator or synthesizer cannot be used, or no story is left.
        MissingExtraError: a package is not installed.
    """
    check_splitter(config.splitter)
    made, source = output / MADE / "texts", config.texts.path

    def texts() -> Iterator[tuple[str, str]]:
        return ((f"story-{number:08d}", text) for number, text in story_texts(config.texts, config.source, made))

    telling = config.telling(config.splitter, config.min_sentences, config.max_sentences, config.cut_at_failure)
    told = tell(texts, telling, config, output, source)
    counts = write_stories(told.rows, config.test_share, config.seed, output, source)
    remove_unheard(told.rows, output)
    origin = texts_origin(config.texts, made)
    card = {"corpus": "stories", "texts": origin, **told.facts, "test_share": config.test_share, "manifests": counts}
    write_card(card, output)
    told.records.remove()
