"""What the bytes of a container say about its samples, before any is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from cslm.audio.byte_pieces import Piece

SLACK_SEC = 0.05
"""What may be missing at the end without a word: the padding of an encoder, a last block that was not filled."""

ESTIMATED = 32
"""How many times longer a file is made to look whose length libmpg123 guesses from its first frames: the rates of MPEG
audio lie no farther apart, so its guess never ends before the file does."""


@dataclass
class Layout:
    """Where the samples of a file are, and what is wrong with what its header says of them."""

    streams: list[list[Piece]]
    """What to decode, one after the other; each is a file of its own."""
    stretched: int = 1
    """How many times longer each stream has to look (see ``ESTIMATED``)."""
    is_guess: bool = False
    """Whether the number of samples that libsndfile finds is none to rely on."""
    beyond: list[Piece] | None = None
    """The same file without its count of samples, in case that there are more."""
    cut: str | None = None
    """Why it must be taken for cut short: what is there, and what was promised."""
    notes: list[str] = field(default_factory=list)
    """What the header says and is not so, where the samples are read all the same."""


def whole(size: int) -> Layout:
    """A file that is taken as it is."""
    return Layout([[range(size)]])
