"""A small unit store with its documents: 40 groups of an English and a Chinese utterance, two voices a language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cslm.batches.parts import Part
from cslm.batches.sources import SourceConfig, open_sources
from cslm.batches.stream import BatchSizes, BatchStream, mixture_of
from cslm.sequences.sequence_format import SequenceFormat
from cslm.units.store import StoreRow, write_store
from tests.worlds.small_village import (
    CHINESE_NAMES,
    CHINESE_VALUES,
    CODEBOOK_SIZE,
    ENGLISH_NAMES,
    ENGLISH_VALUES,
    chinese_answer,
    english_answer,
    some_units,
    word_times,
)

NUM_GROUPS = 40


def rows() -> Iterator[StoreRow]:
    for number in range(NUM_GROUPS):
        person, value = number % 4, number // 4 % 4
        texts = {
            "en": english_answer(ENGLISH_NAMES[person], ENGLISH_VALUES[value]),
            "zh": chinese_answer(CHINESE_NAMES[person], CHINESE_VALUES[value]),
        }
        for language, text in texts.items():
            units = some_units(30 + number, seed=number)
            duration_sec = units.num_frames_total / 25
            yield StoreRow(
                id=f"{language}-{number}",
                language=language,
                speaker=f"{language}-voice-{number % 2}",
                group=f"group-{number}" if number else None,
                document=f"story-{number // 5}",
                place=number % 5,
                text=text,
                duration_sec=duration_sec,
                units=units,
                words=word_times(text, language, duration_sec),
            )


def write_lines(path: Path, documents: list[dict]) -> str:
    path.write_text(
        "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents), encoding="utf-8"
    )
    return str(path)


def write_world(folder: Path) -> dict[str, SourceConfig]:
    """Write the store and the documents into ``folder``: a source for every task."""
    store = str(folder / "units")
    facts = {"fingerprint": "small", "card": "small", "codebook_sizes": (CODEBOOK_SIZE,), "frame_rate_hz": 25.0}
    write_store(store, rows(), in_documents=True, **facts)
    spoken = {row.id: row for row in rows()}
    pairs = [("en", "en"), ("zh", "zh"), ("en", "zh"), ("zh", "en")]
    dialogues = [
        {
            "id": f"{asked}-{answered}-{number}",
            "question": f"{asked}-{number}",
            "question_language": asked,
            "question_text": spoken[f"{asked}-{number}"].text,
            "answer": f"{answered}-{number + 1}",
            "answer_language": answered,
            "answer_text": spoken[f"{answered}-{number + 1}"].text,
        }
        for number in range(20)
        for asked, answered in pairs
    ]
    translations = [
        {"id": f"t{number}", "source_language": "en", "target_language": "zh",
         "source": spoken[f"en-{number}"].text, "target": spoken[f"zh-{number}"].text}
        for number in range(NUM_GROUPS)
    ]  # fmt: skip
    messages = [{"role": "user", "content": "Who is Anna?"}, {"role": "assistant", "content": "Anna is a baker."}]
    instructions = [{"id": "i0", "language": "en", "messages": messages}]
    texts = [{"id": row.id, "language": row.language, "text": row.text} for row in spoken.values()]
    files = {
        name: write_lines(folder / f"{name}.jsonl", documents)
        for name, documents in {
            "dialogues": dialogues, "translations": translations, "instructions": instructions, "texts": texts
        }.items()
    }  # fmt: skip
    return {
        "asr": SourceConfig("asr", 3, store),
        "tts": SourceConfig("tts", 3, store, speakers=["en-voice-0", "zh-voice-0"]),
        "interleaved": SourceConfig("interleaved", 1, store),
        "code_switched": SourceConfig("code_switched", 1, store, num_sentences=3),
        "story": SourceConfig("story", 1, store, joined_tokens=250),
        "speech": SourceConfig("speech", 1, store, joined_tokens=250),
        "dialogue": SourceConfig("dialogue", 2, store, files["dialogues"]),
        "text_dialogue": SourceConfig("text_dialogue", 1, None, files["dialogues"]),
        "translation": SourceConfig("translation", 1, None, files["translations"]),
        "instruction": SourceConfig("instruction", 1, None, files["instructions"]),
        "text": SourceConfig("text", 1, None, files["texts"]),
    }


def open_stream(
    configs: dict[str, SourceConfig], form: SequenceFormat, *, held_out_share: float = 0.0, **settings: Any
) -> BatchStream:
    """The stream of these sources, but for what is held out; ``settings`` are its sizes, seed, tokens and caps."""
    sources = open_sources(configs, form, Part(held_out_share))
    weights = {name: config.weight for name, config in configs.items()}
    sizes = BatchSizes(*(settings.pop(name) for name in ("tokens_per_step", "tokens_per_micro_batch", "max_length")))
    pad_id, alternate = settings.pop("pad_id", 0), settings.pop("alternate", None)
    mixture = mixture_of(sources, weights, **settings)
    return BatchStream(sources, mixture, sizes, settings["seed"], pad_id, alternate)
