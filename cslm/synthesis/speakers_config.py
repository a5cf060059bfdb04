"""What can be told of how voices become speakers."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers

PAIRINGS = ("name", "likeness")


@dataclass
class SpeakersConfig:
    """How voices of several languages become speakers."""

    pairing: str = "name"
    """name: a voice of one name is one speaker; likeness: each voice of the source language goes with the voice of the
    other that is most like it, no voice twice. likeness needs a verifier."""
    verifier: str | None = None
    """Hub id or folder of a speaker-verification model of transformers (microsoft/wavlm-base-plus-sv); null pairs by
    name without listening."""
    revision: str | None = None
    """Branch, tag or commit of the verifier on the hub."""
    threshold: float = 0.9
    """A pair of voices is kept where the cosine of their x-vectors is above it (the paper's 0.90)."""
    num_sentences: int = 8
    """Sentences of each language that each voice says to be verified."""
    max_speakers: int | None = None
    """Keep no more than so many: those that are most alike, or the first ones."""
    device: str = "auto"
    """Where the verifier runs: auto, cpu, cuda."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name; or likeness without a verifier.
        """
        if self.pairing not in PAIRINGS:
            raise UserError(f"speakers.pairing is {self.pairing!r}: choose one of {', '.join(PAIRINGS)}")
        if self.pairing == "likeness" and self.verifier is None:
            raise UserError("speakers.pairing likeness needs a model that hears it: give speakers.verifier")
        one = Range(least=1)
        check_numbers(self, "speakers", threshold=Range(-1, 1), num_sentences=one, max_speakers=one)
