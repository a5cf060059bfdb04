"""Stores of spoken stories whose units can be read: ``<1><12><20>`` is story 1, place 2, language 0."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cslm.batches.sources import SourceConfig
from cslm.codecs.units import Units
from cslm.units.store import StoreRow, UnitStore, write_store
from tests.worlds.small_village import CODEBOOK_SIZE

LANGUAGES = ("en", "fr", "de")
SPOKEN_IDS = 5
"""ids of a sentence: the markers around three units"""


def sentence(story: int, number: int, language: str, **facts: Any) -> StoreRow:
    """One sentence; ``facts`` are those of its row that differ from the usual."""
    units = Units(np.array([[story], [10 + number], [20 + LANGUAGES.index(language)]]), np.array([2, 1, 1]))
    usual = {
        "id": f"{language}-{story}-{number}",
        "language": language,
        "text": f"{language} {story} {number}",
        "duration_sec": 0.16,
        "units": units,
        "speaker": "voice",
        "group": None,
        "document": f"story-{story}",
        "place": number,
    }
    return StoreRow(**{**usual, **facts})


def told_in(languages: Iterable[str], num_stories: int = 4, num_places: int = 3) -> list[StoreRow]:
    """Whole stories, one language after the other."""
    return [
        sentence(story, place, language)
        for language in languages
        for story in range(num_stories)
        for place in range(num_places)
    ]


def store_of(folder: Path, rows: list[StoreRow]) -> UnitStore:
    """These rows as a store."""
    return write_store(
        folder, rows, fingerprint="small", card="small", codebook_sizes=(CODEBOOK_SIZE,), frame_rate_hz=25.0,
        in_documents=True,
    )  # fmt: skip


def story_source(store: UnitStore, **keys: Any) -> SourceConfig:
    """A source of stories, each a document by itself where nothing else is said."""
    return SourceConfig(**{"task": "story", "weight": 1, "store": str(store.path), "joined_tokens": 0} | keys)
