"""Small speech recognizers with random weights, on disk as ``save_pretrained`` leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CONTROLS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
             "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip


def write_whisper(folder: Path, seed: int = 0, decoder_layers: int = 1) -> Path:
    """A Whisper of letters that hears English and German."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [*_LETTERS, "Ġ", *(f"Ġ{letter}" for letter in _LETTERS[:4])]
    vocabulary = {token: index for index, token in enumerate([*letters, *_CONTROLS])}
    (folder / "vocab.json").write_text(json.dumps({token: vocabulary[token] for token in letters}), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(f"Ġ {a}" for a in _LETTERS[:4]) + "\n", "utf-8")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.add_special_tokens({"additional_special_tokens": _CONTROLS})
    ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in _CONTROLS}
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=decoder_layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=80, max_target_positions=24,
        pad_token_id=ids["<|endoftext|>"], bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"], begin_suppress_tokens=None, suppress_tokens=None,
        init_std=0.5,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"], bos_token_id=ids["<|endoftext|>"], is_multilingual=True, max_length=20,
        lang_to_id={token: ids[token] for token in ("<|en|>", "<|de|>")}, return_timestamps=False,
        task_to_id={name: ids[f"<|{name}|>"] for name in ("translate", "transcribe")},
        no_timestamps_token_id=ids["<|notimestamps|>"],
    )  # fmt: skip
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def write_ctc(folder: Path, seed: int = 0) -> Path:
    """A wav2vec 2.0 with a CTC head over letters."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *_LETTERS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, conv_dim=(16,) * 7, pad_token_id=0,
        initializer_range=0.5,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))).save_pretrained(folder)
    return folder
