"""The encoders that hear for a language model, by the section that asks for them."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from cslm.chosen_section import chosen_section
from cslm.encoders.encoder import Encoder
from cslm.encoders.encoder_config import (
    EncoderConfig,
    Fairseq2EncoderConfig,
    HearingConfig,
    SslEncoderConfig,
    WhisperEncoderConfig,
)
from cslm.encoders.long_audio import LongAudioEncoder
from cslm.encoders.runtime import Runtime

# Section of EncoderConfig -> "module:function", from its settings and a Runtime. Imported only when used.
ENCODERS = {
    "whisper": "cslm.encoders.encoders:open_whisper",
    "ssl": "cslm.encoders.encoders:open_ssl",
    "fairseq2": "cslm.encoders.encoders:open_fairseq2",
}


def open_hearing(config: HearingConfig, runtime: Runtime) -> LongAudioEncoder:
    """The encoder of a configuration, which takes recordings of any length.

    Raises:
        UserError: none or several are asked for, or it cannot be opened.
        MissingExtraError: its package is not installed.
    """
    name, settings = chosen_section(config.encoder, "encoder")
    module, _, attribute = ENCODERS[name].partition(":")
    encoder: Encoder = getattr(importlib.import_module(module), attribute)(settings, runtime)
    return LongAudioEncoder(encoder, config.long_audio, f"the encoder {name}")


def source_of(config: EncoderConfig) -> tuple[str, str | None]:
    """Name or path of the frozen weights of an encoder, and their revision."""
    _, settings = chosen_section(config, "encoder")
    if isinstance(settings, Fairseq2EncoderConfig):
        return settings.checkpoint, None
    return settings.model, settings.revision


def with_source(config: EncoderConfig, source: str) -> EncoderConfig:
    """The same encoder, its weights from elsewhere: from a folder or file, without a revision."""
    name, settings = chosen_section(config, "encoder")
    if isinstance(settings, Fairseq2EncoderConfig):
        return replace(config, fairseq2=replace(settings, checkpoint=source))
    revision = None if Path(source).exists() else settings.revision
    changed: dict[str, Any] = {name: replace(settings, model=source, revision=revision)}
    return replace(config, **changed)


def open_whisper(settings: WhisperEncoderConfig, runtime: Runtime) -> Encoder:
    """The encoder of a Whisper."""
    from cslm.encoders.whisper_features import WhisperFeatures

    return WhisperFeatures(settings.model, settings.revision, settings.whole_window, runtime, "encoder.whisper")


def open_ssl(settings: SslEncoderConfig, runtime: Runtime) -> Encoder:
    """A self-supervised model of transformers."""
    from cslm.encoders.ssl_features import SslFeatures

    return SslFeatures(
        settings.model, settings.revision, settings.layer, settings.normalize_waveform, runtime, "encoder.ssl"
    )


def open_fairseq2(settings: Fairseq2EncoderConfig, runtime: Runtime) -> Encoder:
    """A wav2vec 2.0 of fairseq2."""
    from cslm.encoders.fairseq2_features import Fairseq2Features

    return Fairseq2Features(
        settings.checkpoint,
        settings.architecture,
        settings.layer,
        settings.normalize_waveform,
        runtime,
        "encoder.fairseq2",
    )
