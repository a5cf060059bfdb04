"""A checkpoint of a speech prompt with random weights, as a run leaves it, and what it names."""

from __future__ import annotations

from pathlib import Path

import torch

from cslm.encoders.encoder_config import EncoderConfig, LongAudioConfig, WhisperEncoderConfig
from cslm.encoders.runtime import Runtime
from cslm.model.speech_prompt.connector_config import ConnectorConfig, StackedConfig
from cslm.model.speech_prompt.prompt_checkpoint import save_prompt
from cslm.model.speech_prompt.prompt_parts import open_parts
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.speech_prompt import trained_names
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import WORDS
from tests.worlds.tiny_llm import make_llm


def make_prompt(root: Path, connector: ConnectorConfig | None = None, languages: tuple[str, ...] = ()) -> Path:
    """``root/llm``, ``root/whisper`` and ``root/prompt``, whose folder is returned; frames are stacked by default."""
    root.mkdir(parents=True, exist_ok=True)
    make_llm(root / "llm", texts=tuple(" ".join(words) for words in WORDS.values()))
    write_whisper(root / "whisper")
    settings = PromptSettings(
        EncoderConfig(whisper=WhisperEncoderConfig(str(root / "whisper"))),
        connector or ConnectorConfig(stacked=StackedConfig(4)),
        LongAudioConfig(most_sec=2.0),
        list(languages),
        llm=str(root / "llm"),
    )
    parts = open_parts(settings, settings.llm, Runtime())
    with torch.no_grad():
        for parameter in parts.prompt.connector.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    state = parts.prompt.state_dict()
    weights = {name: state[name] for name in trained_names(parts.prompt)}
    save_prompt(settings, parts.tokenizer, parts.hashes, weights, root / "prompt")
    return root / "prompt"
