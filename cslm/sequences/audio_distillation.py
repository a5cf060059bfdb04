"""Prompts of distillation: a transcript, or its speech, as the whole of what a user says; nothing is learnt to be said.

LAD and DiVA have no instruction in training (arXiv 2603.07025, section 3). Both prompts are the chat template's, from
its beginning to the header of the reply.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cslm.sequences.audio_tasks import audio_request
from cslm.sequences.conversations import writes
from cslm.sequences.sequence import Clip, Sequence
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.sequences.task import Draw, Example

TASK = "audio_distillation"
STATE = "state"
"""the column of a store of teacher states, and the field of an example, that holds the state"""


@dataclass(frozen=True)
class TaughtClip:
    """A clip with what its vectors are held against."""

    clip: Clip
    transcript: npt.NDArray[np.int64]
    """(ids,) of its text, as the model reads them in their prompt"""
    state: npt.NDArray[np.float32]
    """(width,) the teacher's last hidden state"""
    state_place: int
    """how many places behind the last one of the clip the model stands there"""
    num_places: int
    """of the clip"""
    is_labelled: bool
    """whether its language is one that is told apart"""

    def read(self) -> npt.NDArray[np.float32]:
        """Its samples."""
        return self.clip.read()

    def more(self) -> Mapping[str, npt.NDArray[Any]]:
        """What :mod:`~cslm.model.speech_prompt.distillation` looks for."""
        place = np.array([self.state_place])
        return {"transcript": self.transcript, "teacher_state": self.state, "state_place": place}

    def counts(self) -> Mapping[str, int]:
        """A transcript of more ids than there are vectors is held against none of them."""
        aligned = len(self.transcript) if len(self.transcript) <= self.num_places else 0
        return {"labelled_clips": int(self.is_labelled), "aligned_tokens": aligned, "taught_clips": 1}


def audio_distillation(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    """A recording as all that a user says, up to the header of the reply."""
    (heard,) = example.heard
    said = transcript_ids(transcript_prompt(form, heard.text, heard.language)).astype(np.int64)
    prompt = form.prompt(TASK, audio_request(form, heard))
    (placed,) = prompt.clips
    taught = TaughtClip(
        heard.clip,
        said,
        np.asarray(example.document[STATE], dtype=np.float32),
        state_place=len(prompt) - placed.stop,
        num_places=placed.stop - placed.start,
        is_labelled=heard.language in form.hearing.languages,
    )
    return dataclasses.replace(prompt, clips=(placed._replace(clip=taught),))


def transcript_prompt(form: SequenceFormat, text: str, language: str) -> Sequence:
    """What the teacher reads: the transcript in the place of the speech."""
    return form.prompt(TASK, [Turn("user", language, writes(text))])


def transcript_ids(prompt: Sequence) -> npt.NDArray[np.int32]:
    """The ids of the transcript in its prompt, as the model reads them there."""
    said = [prompt.ids[span.start : span.stop] for span in prompt.spans if span.modality == "text"]
    return np.concatenate([np.zeros(0, np.int32), *said])
