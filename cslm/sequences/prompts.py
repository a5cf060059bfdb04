"""Prompts for generation: the ids before a reply, exactly as training wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import Units
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import Chunk, check_chain, dialogue_request_turns, write_chain
from cslm.sequences.chunking import join_chunks
from cslm.sequences.sequence_format import Content, SequenceFormat, Turn
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


@dataclass(frozen=True)
class PastTurn:
    """A spoken question and what was said of its answer, earlier in a conversation."""

    question: Units
    question_language: str
    answer_language: str
    chunks: tuple[tuple[str, Units], ...]
    """text and units of each chunk; no units where it was not spoken"""
    texts: Mapping[str, str] = field(default_factory=dict)
    """what was written before the answer, by field of the chain"""


def conversation_prompt(
    form: SequenceFormat, order: str, past: Seq[PastTurn], question: Units, question_language: str, answer_language: str
) -> npt.NDArray[np.int32]:
    """The ids of a conversation of spoken turns, of the question that ends it, and the header of its answer.

    Without past turns the prompt of the task ``dialogue``. Past answers stand as they were written, chain and all.

    Raises:
        UserError: no such chain, or one that the tokenizer cannot write.
    """
    turns: list[Turn] = []
    for turn in past:
        turns += dialogue_request_turns(turn.question, turn.question_language, turn.answer_language)
        turns.append(Turn("assistant", turn.answer_language, _said_before(form, order, turn)))
    turns += dialogue_request_turns(question, language_tag(question_language), language_tag(answer_language))
    return form.prompt("dialogue", turns).ids


def _said_before(form: SequenceFormat, order: str, turn: PastTurn) -> Content:
    chain, text = check_chain(form, order), ""
    chunks: list[Chunk] = []
    for more, units in turn.chunks:
        whole = join_chunks([text, more])  # with the space between chunks that their script has
        chunks.append((whole[len(text) :], units if len(units) else None))
        text = whole
    said: dict[str, Seq[Chunk] | None] = {
        name: [(turn.texts[name], None)] if name in turn.texts else None for name in chain.fields
    }
    said["answer_text"] = chunks
    languages = {"question_language": turn.question_language, "answer_language": turn.answer_language}
    return write_chain(chain, said, {**languages, "core_language": turn.answer_language})


def _prompt(form: SequenceFormat, task: str, asked: Asked) -> npt.NDArray[np.int32]:
    request = task_of(task).request
    if request is None:
        possible = ", ".join(name for name, record in TASKS.items() if record.request is not None)
        raise UserError(f"the task {task} has no request that could be a prompt: choose one of {possible}")
    return form.prompt(task, request(asked)).ids
