"""sStoryCloze- and sTopicCloze-like tests of any languages from text: endings translated and spoken as stories are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.ranges import Range, check_numbers
from cslm.synthesis.cloze_texts import ClozeStory, cloze_stories
from cslm.synthesis.drawn_pairs import STORY_PAIRS, ByLanguage, SpokenStory, story_pairs
from cslm.synthesis.made_records import Row
from cslm.synthesis.pair_recordings import write_pair_recordings
from cslm.synthesis.telling import TellingConfig, tell
from cslm.synthesis.written_stories import (
    remove_unheard,
    utterances_of,
    write_card,
    write_lists,
    write_records,
)
from cslm.village.story_records import PAIR_KINDS


@dataclass
class PairsConfig:
    """Which pairs, and whether their recordings are written too."""

    kinds: list[str] = field(default_factory=lambda: ["topic"])
    """topic: against the ending of another story (sTopicCloze); cloze: against the wrong ending that comes with the
    story (sStoryCloze)."""
    num_wrong_endings: int = 1
    """Wrong endings of each story of the kind topic: so many pairs a story and direction."""
    recordings_hz: int | None = None
    """Write each pair as two recordings of this rate too, in slamkit's layout (16000: what its tokenizers take)."""
    pause_sec: float = 0.0
    """Silence between the sentences of these recordings."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "pairs", num_wrong_endings=Range(least=1), recordings_hz=Range(least=1000))
        check_numbers(self, "pairs", pause_sec=Range(0, 10))
        unknown = [kind for kind in self.kinds if kind not in PAIR_KINDS]
        if unknown or not self.kinds:
            raise UserError(f"pairs.kinds is {self.kinds}: name some of {', '.join(PAIR_KINDS)}")
        self.kinds = list(dict.fromkeys(self.kinds))


@dataclass(kw_only=True)
class StoryPairsConfig(TellingConfig):
    """Which stories, in which languages, and which pairs are made of them."""

    table: str
    """A table (.csv, .tsv) with the header of StoryCloze (four sentences, two endings, the right one's number) or of
    ROCStories (five sentences; only for pairs of the kind topic)."""
    max_stories: int | None = None
    """Take no more than so many, the first ones."""
    pairs: PairsConfig = field(default_factory=PairsConfig)
    """which pairs"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name, or languages that are none or the same.
        """
        super().__post_init__()
        check_numbers(self, "", max_stories=Range(least=1))


def prepare_story_pairs(output: Path, config: StoryPairsConfig) -> None:
    """Write ``story_pairs.jsonl``, ``manifest.jsonl`` with all sentences and endings, ``stories.jsonl`` and audio.

    Raises:
        UserError: the table, the translator or the synthesizer cannot be used, or no pair can be made.
        MissingExtraError: a package is not installed.
    """
    stories = list(islice(cloze_stories(config.table), config.max_stories))
    if "cloze" in config.pairs.kinds and any(story.wrong_ending is None for story in stories):
        raise UserError(f"{config.table}: has no wrong endings, for pairs of the kind cloze: ask for topic only")

    def texts() -> Iterator[tuple[str, str]]:
        return ((story.name, "\n".join(story.sentences)) for story in stories)

    if not stories:
        raise UserError(f"{config.table}: holds no story")
    length = len(stories[0].sentences)  # a table has one layout
    told = tell(texts, config.telling("lines", length, length, cut_at_failure=False), config, output, config.table)
    by_name = {story.name: story for story in stories}
    spoken = [_spoken(row, by_name[row["id"]]) for row in told.rows() if "reason" not in row]
    write_lists(told.rows, output, config.table)
    write_records(told.rows, 1.0, config.seed, output)
    utterances = [utterance for story in spoken for utterance in _utterances(story)]
    counts = write_pairs(spoken, utterances, config.pairs, config.seed, output, config.table)
    remove_unheard(told.rows, output)
    write_card({"corpus": "story_pairs", "texts": Path(config.table).name, **told.facts, **counts}, output)
    told.records.remove()


def write_pairs(
    stories: list[SpokenStory], utterances: list[Utterance], config: PairsConfig, seed: int, output: Path, source: str
) -> dict[str, int]:
    """Write the pairs, the manifest of what they are made of, and where wanted their recordings; returns counts.

    Args:
        stories: of which the pairs are made.
        utterances: of the stories, with audio from ``output`` on.
        config: which pairs.
        seed: draws wrong endings.
        output: folder of the corpus.
        source: where the stories come from, for messages.

    Raises:
        UserError: no pair of a kind can be made, or a recording cannot be read.
    """
    pairs = list(story_pairs(stories, config.kinds, config.num_wrong_endings, seed, source))
    write_json_lines(pairs, output / STORY_PAIRS)
    count = write_manifest(utterances, output / "manifest.jsonl")
    if config.recordings_hz is not None:
        by_id = {utterance.id: utterance for utterance in utterances}
        write_pair_recordings(pairs, by_id, output, config.recordings_hz, config.pause_sec)
    print(f"{source}: {len(stories)} stories, {len(pairs)} pairs in all directions")
    return {"num_stories": len(stories), "num_utterances": count, "num_pairs": len(pairs)}


def _spoken(row: Row, story: ClozeStory) -> SpokenStory:
    """A story that is told whole; its wrong ending belongs to no document."""
    by_language: dict[str, list[Utterance]] = {}
    for utterance in utterances_of(row):
        by_language.setdefault(utterance.language, []).append(utterance)
    length = len(story.beginning)
    wrong: ByLanguage | None = None
    if story.wrong_ending is not None:
        wrong = {language: said[length + 1] for language, said in by_language.items()}
        for utterance in wrong.values():
            utterance.document = utterance.place = None
    return SpokenStory(
        story.name,
        {language: said[:length] for language, said in by_language.items()},
        {language: said[length] for language, said in by_language.items()},
        wrong,
    )


def _utterances(story: SpokenStory) -> Iterator[Utterance]:
    for language in story.ending:
        yield from story.beginning[language]
        yield story.ending[language]
        if story.wrong_ending is not None:
            yield story.wrong_ending[language]
