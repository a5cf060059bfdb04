"""How fast data becomes batches: one process, a corpus with the lengths of the paper's mixture, nothing trained.

Utterances have word times and texts that do not repeat, and the text tokenizer is a byte-level BPE of 4,000 pieces, so
that what a real corpus costs is in it: rows of a mapped store, JSON lines, text to ids, wordings, masks, packing,
tensors.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from cslm.batches.packing import pack
from cslm.batches.sources import SourceConfig, open_sources
from cslm.batches.stream import BatchSizes, BatchStream, mixture_of
from cslm.benchmarks.paper_mixture import ACCUMULATION, LONGEST, MIXTURE, RANKS, Kind, drawn_lengths
from cslm.codecs.units import Units
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.vocabulary import extend_tokenizer
from cslm.sequences.wordings import all_wordings
from cslm.units.store import StoreRow, write_store
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

CODEBOOK_SIZE = 4096
FRAME_RATE_HZ = 25.0
_TASKS = {"ASR": "asr", "TTS": "tts", "translation": "translation", "Infinity-Instruct": "instruction"}
_WORDS = 5000
_TOKENS_PER_WORD = 1.35  # of the made-up words below
_WORD = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEMPLATE = 25  # tokens of an instruction and the chat's markers


def loader_speed(
    num_tokens: int = 2_000_000, documents_per_source: int = 20_000, tokens_per_step: int = 75_000
) -> dict[str, float]:
    """Tokens a second that one process makes ready to train on, and documents a second that are planned into rows.

    ``loader_tokens_per_sec`` with texts tokenized before, which took ``tokenizing_first_sec``;
    ``loader_tokens_per_sec_tokenizing`` with texts tokenized as they are read; ``packing_documents_per_sec``.

    Args:
        num_tokens: how many to count, after one step that is not counted.
        documents_per_source: size of each source, more than is counted: no text is read twice.
        tokens_per_step: as in ``recipes/paper/pretrain.yaml``.
    """
    with tempfile.TemporaryDirectory() as folder, _cache_in(Path(folder) / "cache"):
        stream = _stream(Path(folder), documents_per_source, tokens_per_step)
        tokenizing = _speed(stream, num_tokens)
        started = time.perf_counter()
        for source in stream.sources.values():
            source.know_texts()
        first_sec = time.perf_counter() - started
        found = {"loader_tokens_per_sec": _speed(stream, num_tokens), "loader_tokens_per_sec_tokenizing": tokenizing}
    return {**found, "tokenizing_first_sec": first_sec, "packing_documents_per_sec": packing_speed()}


def _speed(stream: BatchStream, num_tokens: int) -> float:
    position = stream.step({}).position
    counted, started = 0, time.perf_counter()
    while counted < num_tokens:
        batch = stream.step(position)
        counted += sum(batch.consumed.values())
        position = batch.position
    return counted / (time.perf_counter() - started)


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """What is unpacked goes with the corpus that it is of."""
    before = os.environ.get("CSLM_CACHE")
    os.environ["CSLM_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("CSLM_CACHE")
        if before is not None:
            os.environ["CSLM_CACHE"] = before


def packing_speed(num_documents: int = 200_000) -> float:
    """Documents a second that are planned into rows, from their lengths alone, in windows of a step of 24 processes."""
    lengths, _ = drawn_lengths(num_documents)
    window = RANKS * ACCUMULATION * LONGEST // round(float(lengths.mean()))
    started = time.perf_counter()
    for first in range(0, num_documents, window):
        pack(lengths[first : first + window], LONGEST, RANKS)
    return num_documents / (time.perf_counter() - started)


def _stream(folder: Path, documents_per_source: int, tokens_per_step: int) -> BatchStream:
    generator = np.random.default_rng(0)
    words = _made_up_words(generator)
    tokenizer = _text_tokenizer([" ".join(words), *all_wordings(["en", "zh"])])
    extend_tokenizer(tokenizer, (CODEBOOK_SIZE,))
    sources = {}
    for number, (name, kind) in enumerate(MIXTURE.items()):
        task = next(task for ending, task in _TASKS.items() if name.endswith(ending))
        place = folder / f"source{number}"
        if task in ("asr", "tts"):
            rows = _utterances(kind, documents_per_source, words, generator)
            write_store(place, rows, fingerprint="made up", card="made up", codebook_sizes=(CODEBOOK_SIZE,),
                        frame_rate_hz=FRAME_RATE_HZ)  # fmt: skip
            sources[name] = SourceConfig(task, kind.tokens, store=str(place))
        else:
            documents = _documents(task, kind, documents_per_source, words, generator)
            place.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
            sources[name] = SourceConfig(task, kind.tokens, documents=str(place))
    opened = open_sources(sources, SequenceFormat(tokenizer))
    mixture = mixture_of(opened, {name: kind.tokens for name, kind in MIXTURE.items()}, seed=0)
    sizes = BatchSizes(tokens_per_step, 2 * LONGEST, LONGEST)
    return BatchStream(opened, mixture, sizes, seed=0, pad_id=tokenizer.pad_token_id or 0)


def _text_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE that parts texts into words as Llama 3's does."""
    backend = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(_WORD), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=list(names.values()), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def _made_up_words(generator: np.random.Generator) -> list[str]:
    syllables = [
        consonant + vowel for consonant in "bdfghklmnprstvz" for vowel in ("a", "e", "i", "o", "u", "ai", "en")
    ]
    return ["".join(generator.choice(syllables, size=generator.integers(1, 4))) for _ in range(_WORDS)]


def _lengths(kind: Kind, count: int, generator: np.random.Generator) -> Iterator[int]:
    for drawn in kind.mean * np.exp(kind.spread * generator.standard_normal(count) - kind.spread**2 / 2):
        yield int(min(max(drawn, 40), LONGEST - 200))


def _utterances(kind: Kind, count: int, words: list[str], generator: np.random.Generator) -> Iterator[StoreRow]:
    text_share = min(kind.learnt, 1 - kind.learnt - _TEMPLATE / kind.mean) if kind.learnt > 0.5 else kind.learnt
    for number, length in enumerate(_lengths(kind, count, generator)):
        said = _drawn_words(text_share * length, words, generator)
        num_units = max(4, length - _TEMPLATE - round(len(said) * _TOKENS_PER_WORD))
        units = Units(generator.integers(CODEBOOK_SIZE, size=(num_units, 1)), generator.integers(1, 3, size=num_units))
        duration_sec = units.num_frames_total / FRAME_RATE_HZ
        times = np.linspace(0, duration_sec, len(said) + 1).tolist()
        spoken = list(zip(said, times[:-1], times[1:], strict=True))
        yield StoreRow(str(number), "en", " ".join(said), duration_sec, units, speaker="voice", words=spoken)


def _documents(
    task: str, kind: Kind, count: int, words: list[str], generator: np.random.Generator
) -> Iterator[dict[str, object]]:
    for length in _lengths(kind, count, generator):
        asked = " ".join(_drawn_words((1 - kind.learnt) * length - _TEMPLATE, words, generator))
        answered = " ".join(_drawn_words(kind.learnt * length, words, generator))
        if task == "translation":
            yield {"source_language": "en", "target_language": "zh", "source": asked, "target": answered}
        else:
            turns = (("user", asked), ("assistant", answered))
            yield {"language": "en", "messages": [{"role": role, "content": content} for role, content in turns]}


def _drawn_words(num_tokens: float, words: list[str], generator: np.random.Generator) -> list[str]:
    return [words[index] for index in generator.integers(len(words), size=max(1, round(num_tokens / _TOKENS_PER_WORD)))]
