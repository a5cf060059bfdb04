"""A checkpoint small enough for tests: an untrained model with everything around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cslm.codecs.card import load_card, save_card
from cslm.codecs.mel_kmeans import MelKMeans, MelKMeansParameters
from cslm.decoder.decoder_config import DecoderCard, DecoderConfig
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.model.checkpoint import save_checkpoint
from cslm.model.extension import extend_model
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.sequences.vocabulary import extend_tokenizer
from cslm.sequences.wordings import all_wordings

NUM_UNITS = 16
BACKBONES = {
    "llama": {"model_type": "llama", "num_hidden_layers": 2},
    "qwen3": {"model_type": "qwen3", "num_hidden_layers": 2, "head_dim": 8, "tie_word_embeddings": True},
}
SENTENCES = [
    "Anna works as a baker in this village, and everybody knows it.",
    "What is the favourite colour of Peter?",
    "安娜在这个村子里当面包师，大家都知道。",
    "彼得最喜欢的颜色是什么？",
]


def tone(duration_sec: float, rate_hz: int, frequency_hz: float = 220.0, seed: int = 0) -> np.ndarray:
    """A tone that glides, with a little noise: float32 ``(num_samples,)``."""
    time = np.arange(int(duration_sec * rate_hz)) / rate_hz
    noise = np.random.default_rng(seed).standard_normal(len(time))
    sound = 0.4 * np.sin(2 * np.pi * frequency_hz * time * (1 + 0.3 * time)) + 0.01 * noise
    return sound.astype(np.float32)


def make_card(folder: Path) -> Path:
    """A speech tokenizer of 16 units fitted on tones."""
    tones = [tone(2.0, 16000, 150.0 + 80 * index, index) for index in range(6)]
    codec, _ = MelKMeans.fit(tones, name="tones", parameters=MelKMeansParameters(), codebook_size=NUM_UNITS, seed=0)
    save_card(codec.card(), folder / "card.yaml", codec.tensors)
    return folder / "card.yaml"


def make_decoder(folder: Path, fingerprint: str) -> Path:
    """An untrained decoder with an English and a Chinese voice."""
    config = DecoderConfig(
        width=16, num_blocks=1, condition_width=8, num_condition_blocks=1, flow_width=8, num_flow_blocks=1,
        duration_width=8, num_flow_steps=1, num_griffin_lim_iterations=1,
    )  # fmt: skip
    torch.manual_seed(0)
    card = DecoderCard(config, fingerprint, (NUM_UNITS,), 25.0, ("en", "zh"))
    SpeechDecoder(card).save_pretrained(folder)
    return folder


def make_checkpoint(folder: Path, backbone: str = "llama", decoder: bool = True) -> Path:
    """A whole checkpoint folder of an untrained model, with card and decoder in ``speech/``."""
    card_path = make_card(folder.parent / f"{folder.name}_card")
    texts = [*SENTENCES, *all_wordings(["en", "zh"])]
    tokenizer = train_text_tokenizer(texts, 800, folder.parent / f"{folder.name}_text")
    config = AutoConfig.for_model(
        **{
            "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 1024, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, **BACKBONES[backbone],
        }
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    vocabulary = extend_tokenizer(tokenizer, (NUM_UNITS,))
    extend_model(model, vocabulary)
    card = load_card(card_path)
    section = {**vocabulary.to_dict(), "fingerprint": card.fingerprint, "vocabulary_size": vocabulary.size}
    end = SequenceFormat(tokenizer).chat.end_of_turn_ids[-1]
    save_checkpoint(model, tokenizer, folder, speech=section, card=card_path, end_of_turn=end)
    if decoder:
        make_decoder(folder / "speech" / "decoder", str(card.fingerprint))
    return folder
