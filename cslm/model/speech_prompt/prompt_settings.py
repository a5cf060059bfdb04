"""What a speech prompt is made of, as a run is told and as its checkpoint keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cslm.encoders.encoder_config import EncoderConfig, HearingConfig, LongAudioConfig
from cslm.model.lora import LoraOptions
from cslm.model.speech_prompt.connector_config import ConnectorConfig


@dataclass
class PromptSettings:
    """Encoder, connector, and how the frozen language model is opened."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """which frozen encoder hears"""
    connector: ConnectorConfig = field(default_factory=ConnectorConfig)
    """what learns, between the two"""
    long_audio: LongAudioConfig = field(default_factory=LongAudioConfig)
    """recordings that are longer than the encoder takes at once"""
    languages: list[str] = field(default_factory=list)
    """tags of the languages that a connector with a gate tells apart"""
    llm: str = ""
    """name or path of the frozen language model; a path is looked up from the checkpoint's folder"""
    revision: str | None = None
    """branch, tag or commit of it on the Hub"""
    dtype: str = "float32"
    """what its weights are loaded as: float32 or bfloat16"""
    lora: LoraOptions | None = None
    """small matrices beside its frozen layers; null leaves it as it is"""

    @property
    def hearing(self) -> HearingConfig:
        """The encoder, and how much it hears at once."""
        return HearingConfig(self.encoder, self.long_audio)
