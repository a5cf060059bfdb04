"""A few sentences in two languages, a text tokenizer fitted on them, and units, for sequences and batches."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cslm.codecs.units import Units
from cslm.corpora.word_times import Word
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.sequences.vocabulary import extend_tokenizer
from cslm.sequences.wordings import all_wordings
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers

ENGLISH_NAMES = ("Anna", "Boris", "Clara", "Daniel")
ENGLISH_VALUES = ("baker", "teacher", "farmer", "doctor")
CHINESE_NAMES = ("安娜", "鲍里斯", "克拉拉", "丹尼尔")
CHINESE_VALUES = ("面包师", "老师", "农民", "医生")
UNSEEN_ENGLISH = "I would like to know more about the favourite colour of Clara."
CODEBOOK_SIZE = 32


def english_answer(name: str, value: str) -> str:
    return f"In this village {name} works as a {value}, and everybody here likes to hear about it."


def chinese_answer(name: str, value: str) -> str:
    return f"在这个村子里{name}的职业是{value}，这里的人都喜欢听这件事。"


def sentences() -> list[str]:
    """Questions, answers and lists of words in English and Chinese."""
    texts = []
    for (name, value), (chinese_name, chinese_value) in zip(
        itertools.product(ENGLISH_NAMES, ENGLISH_VALUES), itertools.product(CHINESE_NAMES, CHINESE_VALUES), strict=True
    ):
        texts += [english_answer(name, value), f"Please tell me about the job of {name}.", f"{value} {name}."]
        texts += [chinese_answer(chinese_name, chinese_value), f"请告诉我{chinese_name}的职业是什么？"]
        texts += [f"{chinese_value}{chinese_name}。", UNSEEN_ENGLISH]
    return texts


def small_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A text tokenizer fitted on the sentences and the wordings."""
    return train_text_tokenizer([*sentences(), *all_wordings(["en", "zh"])], 1000, folder)


def small_format(folder: Path) -> SequenceFormat:
    """The format of a small tokenizer with 32 units."""
    tokenizer = small_tokenizer(folder)
    extend_tokenizer(tokenizer, [CODEBOOK_SIZE])
    return SequenceFormat(tokenizer)


def byte_level_tokenizer(
    special_tokens: list[str], bos: str | None, eos: str, chat_template: str | None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer as Llama 3, Qwen and SmolLM have, with the control tokens given."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(sentences(), BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special_tokens])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def some_units(num_rows: int, seed: int = 0) -> Units:
    """Merged units: no unit follows itself, each lasts 1 to 3 frames."""
    generator = np.random.default_rng(seed)
    steps = generator.integers(1, CODEBOOK_SIZE, (num_rows, 1))
    return Units(np.cumsum(steps, axis=0) % CODEBOOK_SIZE, generator.integers(1, 4, num_rows))


def word_times(text: str, language: str, duration_sec: float) -> list[Word]:
    """Words (Chinese: characters) evenly over the time, each followed by a pause of a tenth of its time."""
    if language == "zh":
        words = [character for character in text if character.isalnum()]
    else:
        words = ["".join(c for c in word if c.isalnum() or c == "'") for word in text.split()]
    each = duration_sec / len(words)
    return [(word, index * each, (index + 0.9) * each) for index, word in enumerate(words)]
