"""Encoder, connector and language model to measure: those of ``CSLM_PRETRAINED``, or small ones with random weights."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, WhisperConfig, WhisperFeatureExtractor
from transformers import WhisperForConditionalGeneration as Whisper

from cslm.encoders.encoder_config import EncoderConfig, HearingConfig, WhisperEncoderConfig
from cslm.encoders.encoders import open_hearing
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.model.document_attention import DOCUMENT_ATTENTION
from cslm.model.speech_prompt.connector import Between
from cslm.model.speech_prompt.connector_config import ConnectorConfig
from cslm.model.speech_prompt.connectors import build_connector
from cslm.model.speech_prompt.query_bank_config import QueryBankConfig
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, embedding_scale, freeze

PROMPT_IDS = 30
"""ids of the template around the vectors of a clip"""
_RATE_HZ = 16_000
_FOLDERS = "CSLM_PRETRAINED"


@dataclass(frozen=True)
class BenchedShape:
    """Clips of a step, and how many vectors each becomes."""

    clips_a_step: int = 4
    longest_sec: float = 5.0
    transcript_ids: int = 16
    vectors: int = 32

    def clips(self, vocab_size: int) -> tuple[list[Tensor], list[Tensor]]:
        """Waveforms (samples,) of noise, half as long up to the longest; ids (ids,) of their transcripts."""
        generator = torch.Generator().manual_seed(0)
        most = round(self.longest_sec * _RATE_HZ)
        lengths = torch.linspace(most / 2, most, self.clips_a_step).round().int().tolist()
        waveforms = [0.1 * torch.randn(length, generator=generator) for length in lengths]
        ids = [torch.randint(vocab_size, (self.transcript_ids,), generator=generator) for _ in lengths]
        return waveforms, ids


def benched_folders(scratch: Path) -> tuple[Path, Path, bool]:
    """A Whisper, a language model, and whether they are real ones: those of ``CSLM_PRETRAINED``.

    Args:
        scratch: folder in which small ones are made, where that is not set.

    Raises:
        UserError: the folder holds no Whisper beside a language model.
    """
    named = os.environ.get(_FOLDERS)
    if not named:
        return (*_small(scratch), False)
    kinds = {
        file.parent: json.loads(file.read_text(encoding="utf-8"))["model_type"]
        for file in sorted(Path(named).glob("*/config.json"))
    }
    whispers = [folder for folder, kind in kinds.items() if kind == "whisper"]
    others = [folder for folder, kind in kinds.items() if kind != "whisper"]
    if not whispers or not others:
        raise UserError(f"{_FOLDERS} is {named}, which holds no Whisper beside a language model: name another folder")
    return whispers[0], others[0], True


def open_benched(whisper: Path, llm: Path, shape: BenchedShape) -> SpeechPrompt:
    """A query bank between the two, its Q-Former that of the Whisper's decoder."""
    encoder = open_hearing(HearingConfig(EncoderConfig(whisper=WhisperEncoderConfig(str(whisper)))), Runtime())
    model = AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32, attn_implementation=DOCUMENT_ATTENTION)
    frozen = freeze(model)
    embedding: Any = frozen.get_input_embeddings()
    bank = ConnectorConfig(query_bank=QueryBankConfig(num_queries=shape.vectors, whisper=str(whisper)))
    connector = build_connector(bank, Between(encoder.dims, int(embedding.weight.shape[1]), embedding_scale(frozen)))
    return SpeechPrompt(encoder, connector, frozen)


def _small(scratch: Path) -> tuple[Path, Path]:
    whisper, llm = scratch / "whisper", scratch / "llm"
    torch.manual_seed(0)
    shape = WhisperConfig(
        vocab_size=64, d_model=64, encoder_layers=4, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=256, decoder_ffn_dim=256, max_target_positions=64,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    Whisper(shape).save_pretrained(whisper)
    WhisperFeatureExtractor().save_pretrained(whisper)
    text = LlamaConfig(
        vocab_size=8192, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(text).save_pretrained(llm)
    return whisper, llm
