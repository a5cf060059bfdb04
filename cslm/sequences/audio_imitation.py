"""The task ``audio_imitation``: a recording in the place of its transcript, the reply to the transcript to learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cslm.sequences.imitation import Target, heard_request, imitated, text_request
from cslm.sequences.interleaved_vectors import interleaved_pieces
from cslm.sequences.sequence import Clip, Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.task import Draw, Example
from cslm.sequences.task_pool import Asked

TASK = "audio_imitation"
TEXT_SHARE = "text_share"
"""the field of a document that says of which share of its words the text is read"""
TEACHER_IDS, TEACHER_PLACES = "teacher_ids", "teacher_places"
IMITATED_TOKENS = "imitated_tokens"


@dataclass(frozen=True)
class ImitatedClip:
    """A clip that brings with it what the teacher reads: the same request over its transcript, and the same reply."""

    clip: Clip
    teacher: Sequence

    def read(self) -> npt.NDArray[np.float32]:
        """See :class:`Clip`."""
        return self.clip.read()

    def more(self) -> Mapping[str, npt.NDArray[Any]]:
        """``teacher_ids`` (ids,), and ``teacher_places`` (taught,): where among them each taught one is predicted."""
        return {TEACHER_IDS: self.teacher.ids, TEACHER_PLACES: np.flatnonzero(self.teacher.trained) - 1}

    def counts(self) -> Mapping[str, int]:
        """What is a mean over its tokens."""
        return {IMITATED_TOKENS: int(self.teacher.trained.sum())}


def audio_imitation(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    """A recording under a prompt of a store of targets, with the reply of that store.

    Of the share ``text_share`` of its words the text stands there instead, which the seed draws.
    """
    row, (heard,) = example.document, example.heard
    asked, hearing = Asked(row["before"], row["after"]), form.hearing
    target = Target(row["target"].tolist(), row["truncated"], row["target_language"] or row["language"])
    teacher = imitated(form, text_request(row["text"], asked, row["language"]), target, TASK)
    pieces = interleaved_pieces(
        form,
        row["text"],
        heard.words,
        hearing.num_places(heard.num_samples),
        heard.num_samples / hearing.sample_rate_hz,
        row[TEXT_SHARE],
        np.random.default_rng(draw.seed),
        draw.settings.span_words,
    )
    clip = ImitatedClip(heard.clip, teacher)
    request = heard_request(pieces, clip, hearing.placeholder_id, asked, row["language"])
    return imitated(form, request, target, TASK)
