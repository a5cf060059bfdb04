"""A speech prompt without weights: its sizes, and how sequences keep places for recordings, for who plans a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from cslm.encoders.encoders import open_hearing
from cslm.encoders.long_audio import LongAudioEncoder
from cslm.encoders.runtime import META, Runtime
from cslm.model.backbone import DTYPES, model_of_shape
from cslm.model.lora import add_lora
from cslm.model.speech_prompt.connector import Between, Connector
from cslm.model.speech_prompt.connectors import build_connector, without_weights
from cslm.model.speech_prompt.prompt_parts import hearing_of, with_placeholder
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, freeze
from cslm.sequences.hearing import Hearing


@dataclass(frozen=True)
class PromptShape:
    """What a speech prompt will be made of."""

    settings: PromptSettings
    """with sizes in the place of weights"""
    llm: PretrainedConfig
    encoder: LongAudioEncoder
    """on the device ``meta``"""

    width: int
    """of the embeddings of the language model"""

    def connector(self, dtype: str) -> Connector:
        """The connector, new each time, on the device ``meta``; ``dtype`` by its name in the settings."""
        between = Between(self.encoder.dims, self.width, languages=tuple(self.settings.languages))
        with torch.device(META):
            return build_connector(self.settings.connector, between).to(DTYPES[dtype])

    def prompt(self, attention: str, dtype: str) -> SpeechPrompt:
        """Connector and language model, new each time, on the device ``meta``; what learns is in training mode.

        Args:
            attention: of the language model.
            dtype: of all of them, by its name in the settings.
        """
        with torch.device(META):
            llm = freeze(model_of_shape(self.llm, attention, DTYPES[dtype]))
            if self.settings.lora is not None:
                add_lora(llm, self.settings.lora)
        return SpeechPrompt(None, self.connector(dtype), llm, tuple(self.settings.languages))

    def hearing(self, tokenizer: PreTrainedTokenizerBase) -> Hearing:
        """How sequences keep places; stores are not compared, and recordings are not decoded for their length."""
        languages = tuple(self.settings.languages)
        connector = self.connector("float32")
        return dataclasses.replace(
            hearing_of(self.encoder, connector, with_placeholder(tokenizer), {}, languages), decodes=False
        )


def shape_of_prompt(settings: PromptSettings, llm: PretrainedConfig, attention: str) -> PromptShape:
    """The shape of a speech prompt; no weights are read.

    Args:
        settings: with paths from here.
        llm: configuration of the language model.
        attention: of it.

    Raises:
        UserError: an encoder or a connector whose sizes cannot be told.
    """
    encoder = open_hearing(settings.hearing, Runtime(META))
    connector = without_weights(settings.connector)
    with torch.device(META):
        embedding: Any = model_of_shape(llm, attention, torch.float32).get_input_embeddings()
    width = int(embedding.weight.shape[1])
    return PromptShape(dataclasses.replace(settings, connector=connector), llm, encoder, width)
