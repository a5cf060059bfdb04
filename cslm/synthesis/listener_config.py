"""What listeners can be told: a section each, of which one is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers


@dataclass
class AsrListenerConfig:
    """A speech recognizer of transformers: Whisper, or any model with a CTC head (wav2vec 2.0, MMS, HuBERT)."""

    model: str
    """A hub id or a folder; {language} stands for the language."""
    models: dict[str, str] = field(default_factory=dict)
    """Language to hub id or folder, where model does not name it."""
    languages: list[str] = field(default_factory=list)
    """Languages that it hears. Default: a Whisper says it itself, a CTC model that is named by language hears that."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    device: str = "auto"
    """Where it runs: auto, cpu, cuda."""
    dtype: str = "float32"
    """Numbers that it computes with: float32, bfloat16, float16."""
    batch_size: int = 8
    """Clips that a Whisper hears at once; a CTC model hears each alone."""
    num_beams: int = 1
    """Beams of a Whisper's search; 1 takes the likeliest token each time."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        one = Range(least=1)
        check_numbers(self, "listener.asr", batch_size=one, num_beams=one)
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise UserError(f"listener.asr.dtype is {self.dtype!r}: choose float32, bfloat16 or float16")


@dataclass
class PocketSphinxListenerConfig:
    """PocketSphinx (extra ``ear``): English alone, no download."""

    sentences: list[str]
    """JSON Lines files with `text` and `language`: sentences of the kind to be heard, for its language model."""
    num_workers: int | None = None
    """Processes (default: one per core)."""


@dataclass
class ListenerConfig:
    """Which listener: the section of one of them."""

    asr: AsrListenerConfig | None = None
    """a speech recognizer of transformers"""
    pocketsphinx: PocketSphinxListenerConfig | None = None
    """PocketSphinx, for English"""
