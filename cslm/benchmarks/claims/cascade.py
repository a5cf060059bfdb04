"""The cascade that MTBI is held against: a recognizer writes a recording down, the language model answers the text.

The recognizer is the whole of the network whose encoder the model hears by, and the language model is the one that the
model speaks by: both sides have the same parts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cslm.benchmarks.claims.answered_texts import LONGEST_ANSWER, open_recognizer
from cslm.corpora.manifest import Utterance, resolve_audio
from cslm.evaluation.audio_text_model import AskedAloud, OwnAudioModel
from cslm.evaluation.scored_model import load_clip, spread
from cslm.files.atomic_file import write_atomically
from cslm.generation.decoding import DecodingConfig
from cslm.generation.prompt_model import SpeechPromptModel
from cslm.generation.text_answers import text_answers
from cslm.model.frozen_llm import open_frozen_llm
from cslm.sequences.imitation import text_request
from cslm.sequences.task_pool import Asked

NUM_TIMED = 50


class Times(NamedTuple):
    """Seconds of one answer."""

    model: float
    cascade: float


def time_answers(
    model: Path,
    recognizer: Path,
    llm: Path,
    manifest: Path,
    utterances: Sequence[Utterance],
    requests: Sequence[dict[str, Any]],
    kept: Path,
) -> list[Times]:
    """How long each of :data:`NUM_TIMED` requests takes, one by one: model and cascade in turn, on one thread.

    Args:
        model, recognizer, llm: their folders.
        manifest: of the utterances.
        requests: lines of the imitation score: ``id``, ``language``, ``task``, ``before``, ``after``.
        kept: file of the times; what is there is not measured again.
    """
    if not kept.is_file():
        clips = {it.id: load_clip(it, Path(resolve_audio(manifest, it))) for it in utterances}
        chosen = spread(requests, NUM_TIMED)
        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            found = _timed(model, recognizer, llm, clips, [chosen[0], *chosen])[1:]  # the first one warms up
        finally:
            torch.set_num_threads(num_threads)
        write_atomically(kept, json.dumps(found).encode())
    return [Times(*row) for row in json.loads(kept.read_bytes())]


def _timed(
    model: Path, recognizer: Path, llm: Path, clips: dict[str, Any], requests: Sequence[dict[str, Any]]
) -> list[Times]:
    hearing = OwnAudioModel(SpeechPromptModel.from_pretrained(model))
    listener, answering = open_recognizer(recognizer), open_frozen_llm(str(llm), device="cpu")
    decoding, times = DecodingConfig(LONGEST_ANSWER, batch_size=1), []
    for row in requests:
        clip, language, asked = clips[row["id"]], row["language"], Asked(row["before"], row["after"])
        start = time.perf_counter()
        hearing.answer([AskedAloud(clip, language, *asked)], decoding)
        between = time.perf_counter()
        heard = listener.hear([clip], language)[0]
        request = text_request(heard if isinstance(heard, str) else "", asked, language)
        text_answers(answering, [answering.form.prompt(row["task"], request).ids], LONGEST_ANSWER, 1)
        times.append(Times(between - start, time.perf_counter() - between))
    return times
