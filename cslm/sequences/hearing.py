"""What a sequence has to know of recordings that are put before a language model as vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cslm.codecs.encoder_hash import ENCODER
from cslm.corpora.word_times import Word
from cslm.sequences.sequence import Clip

PLACEHOLDER = "<|audio|>"
"""surface form of the token that keeps a place for a vector; no text becomes it"""


@dataclass(frozen=True)
class Hearing:
    """How places are kept: plain arithmetic, known before an encoder or a connector runs."""

    placeholder_id: int
    """of :data:`PLACEHOLDER`; a language model need have no row for it"""
    sample_rate_hz: int
    """of the waveforms that the encoder takes"""
    frame_rate_hz: float
    """frames of the encoder a second"""
    num_frames: Callable[[int], int]
    """frames of so many samples"""
    num_vectors: Callable[[int], int]
    """places that so many frames take"""
    fault: Callable[[int], str | None] = lambda num_samples: None
    """what is wrong with a recording of so many samples, in words; None where it can be heard"""
    num_pieces: Callable[[int], int] = lambda num_samples: 1
    """in how many pieces the encoder hears it"""
    in_time: bool = True
    """whether the vectors of a recording follow its time, so that words can be cut from them"""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """of encoder, frozen language model and template, by the names that stores give them"""
    languages: tuple[str, ...] = ()
    """tags of those that a gate tells apart"""
    is_told_languages: bool = False
    """whether the connector has to be told which of them each recording is in"""
    decodes: bool = True
    """whether recordings are decoded for their true length, once; else manifest or header are believed, for a plan"""

    @property
    def teacher_hashes(self) -> dict[str, str]:
        """Those of a teacher, who reads and never hears: of language model and template."""
        return {name: value for name, value in self.hashes.items() if name != ENCODER}

    def num_places(self, num_samples: int) -> int:
        """Places that a recording of so many samples takes."""
        return self.num_vectors(self.num_frames(num_samples))


@dataclass(frozen=True, slots=True)
class Heard:
    """A recording as a manifest has it."""

    id: str
    clip: Clip
    num_samples: int
    """at the rate of the encoder"""
    text: str
    """what is said"""
    language: str
    words: Sequence[Word] | None = None
    """what is said when, where it is known"""
