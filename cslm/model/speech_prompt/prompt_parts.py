"""The parts of a speech prompt, opened or made from their settings, and how sequences keep places for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from cslm.codecs.encoder_hash import ENCODER, encoder_hash
from cslm.encoders.encoders import open_hearing
from cslm.encoders.long_audio import LongAudioEncoder
from cslm.encoders.runtime import Runtime
from cslm.model.backbone import DTYPES
from cslm.model.frozen_llm import LANGUAGE_MODEL, open_frozen_llm
from cslm.model.lora import add_lora
from cslm.model.speech_prompt.connector import Between, Connector
from cslm.model.speech_prompt.connectors import build_connector
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, embedding_scale, freeze
from cslm.sequences.hearing import PLACEHOLDER, Hearing


@dataclass(frozen=True)
class PromptParts:
    """A speech prompt, its tokenizer, and hashes of what is frozen."""

    prompt: SpeechPrompt
    tokenizer: PreTrainedTokenizerBase
    """of the language model, with the placeholder"""
    hearing: Hearing
    """how sequences keep places for recordings"""
    hashes: dict[str, str]
    """of the tensors of encoder and language model"""


def open_parts(
    settings: PromptSettings, llm_folder: str, runtime: Runtime, attention: str | None = None, seed: int = 0
) -> PromptParts:
    """Open encoder and language model, and make a new connector, drawn by the seed.

    Args:
        llm_folder: where the language model lies.
        runtime: how the encoder runs.
        attention: of the language model.

    Raises:
        UserError: a part that cannot be opened, or settings that contradict each other.
    """
    encoder = open_hearing(settings.hearing, runtime)
    frozen = open_frozen_llm(llm_folder, attention=attention)
    opened: Any = frozen.model
    llm: Any = freeze(opened.to(DTYPES[settings.dtype]))
    width = int(llm.get_input_embeddings().weight.shape[1])
    languages = tuple(settings.languages)
    connector = build_connector(settings.connector, Between(encoder.dims, width, embedding_scale(llm), languages, seed))
    if settings.lora is not None:
        add_lora(llm, settings.lora, seed)
    hashes = {LANGUAGE_MODEL: frozen.hashes[LANGUAGE_MODEL], ENCODER: encoder_hash(encoder)}
    tokenizer = with_placeholder(frozen.tokenizer)
    prompt = SpeechPrompt(encoder, connector, llm, languages)
    hearing = hearing_of(encoder, connector, tokenizer, {**frozen.hashes, **hashes}, languages)
    return PromptParts(prompt, tokenizer, hearing, hashes)


def with_placeholder(tokenizer: Any) -> PreTrainedTokenizerBase:
    """The tokenizer with a reserved token that keeps a place for a vector, in place."""
    if PLACEHOLDER not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [PLACEHOLDER]}, False)
    found: PreTrainedTokenizerBase = tokenizer
    return found


def hearing_of(
    encoder: LongAudioEncoder,
    connector: Connector,
    tokenizer: PreTrainedTokenizerBase,
    hashes: Mapping[str, str],
    languages: tuple[str, ...] = (),
) -> Hearing:
    """How sequences keep places for what this encoder and this connector make of recordings.

    Args:
        hashes: of encoder, language model and template, as stores name them.
        languages: those that the connector tells apart.
    """
    return Hearing(
        placeholder_id=int(tokenizer.get_vocab()[PLACEHOLDER]),
        sample_rate_hz=encoder.sample_rate_hz,
        frame_rate_hz=encoder.frame_rate_hz,
        num_frames=encoder.num_frames,
        num_vectors=connector.num_vectors,
        fault=encoder.fault,
        num_pieces=encoder.num_pieces,
        in_time=connector.in_time,
        hashes=hashes,
        languages=languages,
        is_told_languages=connector.is_told_languages,
    )
