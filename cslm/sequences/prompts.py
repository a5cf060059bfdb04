"""Prompts for generation: the ids before a reply, exactly as training wrote them."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Literal

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import Units
from cslm.sequences.chain_of_modality import dialogue_request_turns, text_dialogue_request
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.sequences.tasks import asr_request, message_turns, translation_request, tts_request

PromptedTask = Literal["asr", "tts", "translation", "dialogue", "text_dialogue"]


def prompt_for(
    form: SequenceFormat,
    task: PromptedTask,
    *,
    language: str,
    units: Units | None = None,
    text: str | None = None,
    answer_language: str | None = None,
    wording: int = 0,
) -> npt.NDArray[np.int32]:
    """The ids ``(num_ids,)`` of a request and the header of its reply.

    Args:
        language: of the input.
        units: the input of ``asr`` and ``dialogue``.
        text: the input of ``tts``, ``translation`` and ``text_dialogue``.
        answer_language: of a translation or an answer; the language of the input where it is not given.
        wording: which of the ten instructions of ``asr``, ``tts`` and ``translation``.
    """
    turns = _turns(task, language, units, text, answer_language or language, wording)
    return form.prompt(task, turns).ids


def chat_prompt(form: SequenceFormat, messages: Seq[dict[str, str]], language: str = "en") -> npt.NDArray[np.int32]:
    """The ids of a conversation in text and the header of the reply to it.

    Raises:
        UserError: a message without a known role or a content.
    """
    return form.prompt("instruction", message_turns(messages, language)).ids


def _turns(
    task: PromptedTask, language: str, units: Units | None, text: str | None, answer_language: str, wording: int
) -> list[Turn]:
    if task in ("asr", "dialogue"):
        assert units is not None, f"a prompt for {task} needs units"
        if task == "asr":
            return asr_request(units, language, wording)
        return dialogue_request_turns(units, language, answer_language)
    assert text is not None, f"a prompt for {task} needs a text"
    if task == "tts":
        return tts_request(text, language, wording)
    if task == "translation":
        return translation_request(text, language, answer_language, wording)
    return text_dialogue_request(text, language, answer_language)
