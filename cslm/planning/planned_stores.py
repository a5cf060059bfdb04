"""How large the stores of what frozen networks make once are: frames, teacher states, targets.

Of a store that is there the header tells. Of one that is not, a sample of its rows is made up (noise for numbers, the
transcripts themselves for answers) and written as a shard would be, in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from cslm.batches.recording_sources import Recordings
from cslm.batches.source_config import SourceConfig
from cslm.errors import UserError
from cslm.files.atomic_file import folder_at
from cslm.model.speech_prompt.prompt_shape import PromptShape
from cslm.sequences.audio_distillation import transcript_ids, transcript_prompt
from cslm.sequences.hearing import Heard
from cslm.sequences.sequence_format import SequenceFormat
from cslm.training.language_model_config import RunPaths
from cslm.units.sample_store import FRAMES, TARGETS, TEACHER_STATES, read_sample_header
from cslm.units.shards import parquet_bytes

_ROWS, _BYTES_OF_FRAMES = 256, 1 << 25  # of a sample
KEYS = {"audio_distillation": TEACHER_STATES, "audio_imitation": TARGETS}
"""task -> the store that it reads, which is also the key of a source that names it"""


def planned_stores(
    sources: dict[str, SourceConfig], paths: RunPaths, form: SequenceFormat, shape: PromptShape, answer_tokens: int
) -> list[dict[str, Any]]:
    """Kind, source, rows and bytes of each store that the sources read, or might; and whether it is there.

    Args:
        sources: those that are drawn.
        answer_tokens: of an answer, for targets that are not there.
    """
    found: list[dict[str, Any]] = []
    opened: dict[str, Recordings] = {}
    known: set[tuple[str, str]] = set()
    for name, config in sources.items():
        if config.manifest is None:
            continue
        for kind in (FRAMES, *([KEYS[config.task]] if config.task in KEYS else ())):
            facts = _of_header(name, kind, getattr(config, kind), paths)
            try:
                facts = facts or _estimated(name, kind, config, paths, form, shape, answer_tokens, opened)
            except UserError:  # the source itself says what is wrong with its manifest
                continue
            if (kind, config.manifest) not in known:  # sources of one manifest share what is made of it
                known.add((kind, config.manifest))
                found.append(facts)
    return found


def _of_header(name: str, kind: str, place: str | None, paths: RunPaths) -> dict[str, Any] | None:
    """What the header of a store says; None where there is none."""
    if place is None:
        return None
    try:
        header = read_sample_header(folder_at(str(paths.locate(place))))
    except UserError:
        return None
    size = sum(shard.num_bytes for shard in header.shards)
    return {"kind": kind, "source": name, "rows": header.num_rows, "bytes": size, "made": True}


def _estimated(
    name: str,
    kind: str,
    config: SourceConfig,
    paths: RunPaths,
    form: SequenceFormat,
    shape: PromptShape,
    answer_tokens: int,
    opened: dict[str, Recordings],
) -> dict[str, Any]:
    place = str(paths.locate(str(config.manifest)))
    if place not in opened:
        opened[place] = Recordings(name, replace(config, manifest=place, frames=None), form, None)
    recordings = opened[place]
    rows = np.flatnonzero(recordings.heard)
    lengths = [form.hearing.num_frames(it) for it in recordings.index.lengths[rows].tolist()]
    most = _ROWS
    if kind == FRAMES:
        mean_bytes = max(1.0, 2.0 * shape.encoder.dims * sum(lengths) / max(1, len(lengths)))
        most = max(1, min(_ROWS, int(_BYTES_OF_FRAMES / mean_bytes)))
    chosen = _spread(rows, most)
    heard = [recordings.read(int(row)) for row in chosen]
    makers: dict[str, Callable[[], pa.Table]] = {
        FRAMES: lambda: _frames(heard, form, shape.encoder.dims),
        TEACHER_STATES: lambda: _states(heard, form, int(shape.llm.get_text_config().hidden_size)),
        TARGETS: lambda: _targets(heard, form, answer_tokens),
    }
    size = len(parquet_bytes(makers[kind]())) if heard else 0
    if kind == FRAMES:
        sampled = sum(form.hearing.num_frames(it.num_samples) for it in heard)
        size = round(size * sum(lengths) / max(1, sampled))
    else:
        size = round(size * len(rows) / max(1, len(heard)))
    return {"kind": kind, "source": name, "rows": len(rows), "bytes": size, "made": False}


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(np.int64))] if len(rows) else rows


def _frames(heard: Sequence[Heard], form: SequenceFormat, dims: int) -> pa.Table:
    counts = [form.hearing.num_frames(it.num_samples) for it in heard]
    generator = np.random.default_rng(0)
    noise = [_noise(generator, count * dims) for count in counts]
    columns = {"id": pa.array([it.id for it in heard]), "num_samples": pa.array([it.num_samples for it in heard])}
    return pa.table(columns | {"num_frames": pa.array(counts), "frames": pa.array(noise, pa.list_(pa.float16()))})


def _states(heard: Sequence[Heard], form: SequenceFormat, width: int) -> pa.Table:
    counts = [len(transcript_ids(transcript_prompt(form, it.text, it.language))) for it in heard]
    generator = np.random.default_rng(0)
    states = pa.array([_noise(generator, width) for _ in heard], pa.list_(pa.float16(), width))
    return pa.table({**_texts(heard), "num_ids": pa.array(counts, pa.int32()), "state": states})


def _targets(heard: Sequence[Heard], form: SequenceFormat, answer_tokens: int) -> pa.Table:
    """Answers of so many tokens, cut from the transcripts one after another."""
    said = [transcript_ids(transcript_prompt(form, it.text, it.language)) for it in heard]
    text = np.concatenate([np.zeros(0, np.int32), *said])
    starts = [place * 7919 % max(1, len(text)) for place in range(len(heard))]
    ids = [np.resize(np.roll(text, -start), answer_tokens) if len(text) else text for start in starts]
    answers = [form.encoder.decode(one.tolist()) for one in ids]
    count = len(heard)
    plain = {"task": ["continuation"] * count, "wording": [0] * count, "target_language": [""] * count}
    plain |= {"cell": ["seen"] * count, "transcribes": [False] * count, "truncated": [False] * count}
    plain |= {"before": ["Go on with this text in the same style."] * count, "after": [""] * count}
    texts = {**_texts(heard), "answer": pa.array(answers, pa.string())}
    return pa.table({**texts, **plain, "target": pa.array(ids, pa.list_(pa.int32()))})


def _texts(heard: Sequence[Heard]) -> dict[str, pa.Array]:
    return {name: pa.array([getattr(it, name) for it in heard], pa.string()) for name in ("id", "language", "text")}


def _noise(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.standard_normal(count).astype(np.float16)
