"""Which audio-text model of transformers is scored in the place of one of ours."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.errors import UserError

AUDIO_AS = ("array", "base64")


@dataclass
class AudioModelConfig:
    """An audio-text model of transformers, opened from ``checkpoint``, a folder or a Hub id."""

    class_name: str
    """of transformers, e.g. Qwen2AudioForConditionalGeneration, VoxtralForConditionalGeneration"""
    revision: str | None = None
    """of the Hub's model; null takes its newest"""
    audio_token: str | None = None
    """what stands for audio in a message, where the template takes plain text (GraniteSpeech: <|audio|>); null writes
    messages in parts, {type: audio} and {type: text}"""
    audio_as: str = "array"
    """how audio reaches the processor: array, or base64 where the tokenizer reads the audio itself (Voxtral)"""
    system: str | None = None
    """what stands before every request; null leaves it to the template"""
    dtype: str = "auto"
    """of the weights: auto (as stored), float32, bfloat16, float16"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value that is none of its kind.
        """
        if self.audio_as not in AUDIO_AS:
            raise UserError(f"audio_model.audio_as is {self.audio_as!r}: choose one of {', '.join(AUDIO_AS)}")
        if self.audio_token is not None and self.audio_as != "array":
            raise UserError("audio_model: audio_token goes with audio_as array: leave one of them out")
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise UserError(f"audio_model.dtype is {self.dtype!r}: give auto, float32, bfloat16 or float16")
