"""Prompts for generation: the ids before a reply, exactly as training wrote them."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import Units
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS, Asked, task_of


def prompt_for(
    form: SequenceFormat,
    task: str,
    *,
    language: str,
    units: Units | None = None,
    text: str | None = None,
    answer_language: str | None = None,
    wording: int = 0,
) -> npt.NDArray[np.int32]:
    """The ids ``(num_ids,)`` of a request and the header of its reply.

    Args:
        task: one of :data:`~cslm.sequences.tasks.TASKS` that has a request.
        language: of the input.
        units: the input of ``asr`` and ``dialogue``.
        text: the input of ``tts``, ``translation`` and ``text_dialogue``.
        answer_language: of a translation or an answer; the language of the input where it is not given.
        wording: which of the ten instructions of ``asr``, ``tts`` and ``translation``.

    Raises:
        UserError: an unknown task, one that nobody can ask for, its input is missing, or no language.
    """
    answered = None if answer_language is None else language_tag(answer_language)
    return _prompt(form, task, Asked(language_tag(language), units, text, (), answered, wording))


def chat_prompt(form: SequenceFormat, messages: Seq[dict[str, str]], language: str = "en") -> npt.NDArray[np.int32]:
    """The ids of a conversation in text and the header of the reply to it.

    Raises:
        UserError: a message without a known role or a content.
    """
    return _prompt(form, "instruction", Asked(language_tag(language), messages=messages))


def _prompt(form: SequenceFormat, task: str, asked: Asked) -> npt.NDArray[np.int32]:
    request = task_of(task).request
    if request is None:
        possible = ", ".join(name for name, record in TASKS.items() if record.request is not None)
        raise UserError(f"the task {task} has no request that could be a prompt: choose one of {possible}")
    return form.prompt(task, request(asked)).ids
