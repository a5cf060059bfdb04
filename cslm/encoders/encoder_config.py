"""Which frozen encoder hears for a language model: a section each, of which one is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cslm.errors import UserError
from cslm.ranges import Range, check_numbers

LONG_AUDIO = ("pieces", "refuse")


@dataclass
class WhisperEncoderConfig:
    """The encoder of a Whisper, its last layer: 50 frames a second, at most 30 seconds at once."""

    model: str
    """hub id or folder"""
    revision: str | None = None
    """branch, tag or commit on the hub"""
    whole_window: bool = False
    """fill each clip up with silence to 30 seconds, as Whisper was trained; else its true length alone is computed"""


@dataclass
class SslEncoderConfig:
    """A self-supervised model of transformers: HuBERT, WavLM, wav2vec 2.0, w2v-BERT 2.0."""

    model: str
    """hub id or folder"""
    layer: int
    """the block whose output is taken; 1 is the first"""
    revision: str | None = None
    """branch, tag or commit on the hub"""
    normalize_waveform: bool | None = None
    """bring each waveform to mean 0 and variance 1; null: as the checkpoint's processor says"""


@dataclass
class Fairseq2EncoderConfig:
    """A wav2vec 2.0 of fairseq2 (extra ``fairseq2``)."""

    checkpoint: str
    """file or URL of a checkpoint of fairseq or fairseq2"""
    layer: int
    """the block whose output is taken; 1 is the first"""
    architecture: str | dict[str, Any] = "xlsr2_1b_v2"
    """a name, or the fields of Wav2Vec2EncoderConfig that differ from the base"""
    normalize_waveform: bool = True
    """bring each waveform to mean 0 and variance 1"""


@dataclass
class EncoderConfig:
    """Which encoder: the section of one of them."""

    whisper: WhisperEncoderConfig | None = None
    """the encoder of a Whisper"""
    ssl: SslEncoderConfig | None = None
    """HuBERT, WavLM, wav2vec 2.0, w2v-BERT 2.0"""
    fairseq2: Fairseq2EncoderConfig | None = None
    """wav2vec 2.0 of fairseq2"""


@dataclass
class LongAudioConfig:
    """What becomes of a recording that is longer than an encoder takes at once. Nothing is ever cut off."""

    most_sec: float = 30.0
    """so much goes into the encoder at once; Whisper takes no more than 30"""
    beyond: str = "pieces"
    """of what is longer: pieces (of one length, each heard by itself, their frames joined) or refuse (left out and
    listed in training, an error in a reply)"""
    longest_sec: float | None = None
    """what is longer than this is left out and listed, or refused, in any case; null: nothing"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, by name.
        """
        check_numbers(self, "long_audio", most_sec=Range(least=0.1), longest_sec=Range(above=0))
        if self.beyond not in LONG_AUDIO:
            raise UserError(f"long_audio.beyond is {self.beyond!r}: choose one of {', '.join(LONG_AUDIO)}")


@dataclass
class HearingConfig:
    """A frozen encoder, and what becomes of long recordings."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """which encoder"""
    long_audio: LongAudioConfig = field(default_factory=LongAudioConfig)
    """recordings that are longer than it takes at once"""
