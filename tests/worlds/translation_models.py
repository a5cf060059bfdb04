"""Small translation models with random weights, saved as users have them, with their tokens for languages."""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece
import torch
from transformers import (
    AutoTokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    T5Config,
    T5ForConditionalGeneration,
)

TEXTS = [
    "The dog saw a cat.",
    "Le chien vit un chat.",
    "Tom ran home.",
    "Tom courut chez lui.",
    "A story of old times.",
]
_SIZE = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
_SIZE |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64}


def spm(folder: Path, name: str, **options: object) -> Path:
    """A SentencePiece model of the few texts."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4), model_prefix=str(folder / name), vocab_size=60, hard_vocab_limit=False,
        minloglevel=2, **options,
    )  # fmt: skip
    return folder / f"{name}.model"


def marian(
    folder: Path,
    codes: tuple[str, ...] = (),
    source: str = "en",
    target: str = "fr",
    seed: int = 0,
    ends: bool = False,
) -> Path:
    """OPUS-MT: one pair of languages, or tokens of the targets before the text; ``ends``: its translations do."""
    pieces_file = spm(folder.with_name(f"{folder.name}-spm"), "both")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(pieces_file))
    words = ["</s>", "<unk>", *(pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())), *codes, "<pad>"]
    vocabulary = folder.with_name(f"{folder.name}-vocab.json")
    vocabulary.write_text(json.dumps({word: index for index, word in enumerate(words)}))
    spms = (str(pieces_file), str(pieces_file), str(vocabulary))
    MarianTokenizer(*spms, source_lang=source, target_lang=target).save_pretrained(folder)
    pad = len(words) - 1
    ids = {"pad_token_id": pad, "eos_token_id": 0, "decoder_start_token_id": pad, "forced_eos_token_id": 0}
    model = MarianMTModel(MarianConfig(vocab_size=len(words), **ids, **_SIZE))
    if ends:
        model.generation_config.no_repeat_ngram_size = 1  # the end is the last token that is left, if not before
    _save(model, folder, seed)
    return folder


def m2m(folder: Path) -> Path:
    """M2M-100: two letters a language."""
    model = spm(folder.with_name(f"{folder.name}-spm"), "both")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    words = ["<s>", "<pad>", "</s>", "<unk>", *(pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size()))]
    vocabulary = folder.with_name(f"{folder.name}-vocab.json")
    vocabulary.write_text(json.dumps({word: index for index, word in enumerate(words)}))
    M2M100Tokenizer(str(vocabulary), str(model)).save_pretrained(folder)
    _save(M2M100ForConditionalGeneration(_m2m_config(len(words) + 108)), folder)  # 100 languages, 8 rows without a name
    return folder


def nllb(folder: Path) -> Path:
    """NLLB: the codes of FLORES; the tokenizer as the hub has it, a SentencePiece model."""
    spm(folder, "sentencepiece.bpe", model_type="bpe")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NllbTokenizer"}')
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["eng_Latn", "fra_Latn", "zho_Hans"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    _save(M2M100ForConditionalGeneration(_m2m_config(len(tokenizer) + 4)), folder)
    return folder


def madlad(folder: Path) -> Path:
    """MADLAD-400: T5 with the target before the text."""
    spm(folder, "spiece", pad_id=1, eos_id=2, unk_id=0, bos_id=-1, user_defined_symbols=["<2fr>", "<2de>", "<2zh>"])
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 0}')
    size = len(AutoTokenizer.from_pretrained(folder))
    ids = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, **ids)
    _save(T5ForConditionalGeneration(config), folder)
    return folder


def _m2m_config(size: int) -> M2M100Config:
    return M2M100Config(vocab_size=size, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, **_SIZE)


def _save(model: torch.nn.Module, folder: Path, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    model.save_pretrained(folder)
