"""The tasks: what each is made of, how it is written, and how it is asked for. One record a task in :data:`TASKS`.

To add one, write its record and put it there: sources, streams, prompts and the texts that are tokenized before
training all come from the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cslm.codecs.units import Units
from cslm.corpora.text_documents import TEXT_FIELDS
from cslm.errors import UserError
from cslm.sequences.audio_distillation import audio_distillation
from cslm.sequences.audio_imitation import audio_imitation
from cslm.sequences.audio_tasks import AUDIO_DIALOGUE_FIELDS, audio_asr, audio_dialogue
from cslm.sequences.chain_of_modality import (
    dialogue_request_turns,
    text_dialogue,
    text_dialogue_request,
)
from cslm.sequences.chains import chain_of
from cslm.sequences.conversations import (
    asr,
    asr_request,
    instruction,
    message_turns,
    plain_text,
    translation,
    translation_request,
    tts,
    tts_request,
)
from cslm.sequences.further_texts import further_texts
from cslm.sequences.interleaving import interleaved
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.sequences.spoken_turns import spoken_turns
from cslm.sequences.stories import spoken_document
from cslm.sequences.task import Asked as Asked
from cslm.sequences.task import Draw as Draw
from cslm.sequences.task import Example as Example
from cslm.sequences.task import Settings as Settings
from cslm.sequences.task import SourceKind as SourceKind
from cslm.sequences.task import Task as Task
from cslm.sequences.text_encoder import after_space
from cslm.sequences.thoughts import conversation_with_tokens, writes_tokens


def task_of(name: str) -> Task:
    """The record of a task.

    Raises:
        UserError: there is none.
    """
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}: choose one of {', '.join(sorted(TASKS))}")
    return TASKS[name]


def _asr(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    (heard,) = example.utterances
    return asr(form, heard.units, heard.text, heard.language, draw.seed)


def _tts(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    (spoken,) = example.utterances
    return tts(form, spoken.units, spoken.text, spoken.language, draw.seed)


def _interleaved(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    (utterance,) = example.utterances
    generator, settings = np.random.default_rng(draw.seed), draw.settings
    return interleaved(form, utterance, example.frame_rate_hz, generator, settings.spans, settings.span_words)


def _code_switched(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return spoken_document(form, _said(example), "code_switched")


def _story(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return spoken_document(form, _said(example), "story")


def _speech(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return spoken_document(form, _said(example), "speech")


def _text_dialogue(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    document, order = example.document, draw.settings.order
    return text_dialogue(
        form, document["question_text"], document["answer_text"], document["question_language"],
        document["answer_language"], order, further_texts(chain_of(order), document, draw),
    )  # fmt: skip


def _translation(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    document = example.document
    languages = document["source_language"], document["target_language"]
    return translation(form, document["source"], document["target"], *languages, draw.seed)


def _instruction(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    messages, language = example.document["messages"], example.document["language"]
    if writes_tokens(form, messages):
        return conversation_with_tokens(form, messages, language)
    return instruction(form, messages, language)


def _text(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return plain_text(form, example.document["text"], example.document["language"])


def _ask_asr(asked: Asked) -> list[Turn]:
    return asr_request(asked.units_for("asr"), asked.language, asked.wording)


def _ask_tts(asked: Asked) -> list[Turn]:
    return tts_request(asked.text_for("tts"), asked.language, asked.wording)


def _ask_translation(asked: Asked) -> list[Turn]:
    text, target = asked.text_for("translation"), asked.answer_language or asked.language
    return translation_request(text, asked.language, target, asked.wording)


def _ask_dialogue(asked: Asked) -> list[Turn]:
    return dialogue_request_turns(asked.units_for("dialogue"), asked.language, asked.answer_language or asked.language)


def _ask_text_dialogue(asked: Asked) -> list[Turn]:
    text = asked.text_for("text_dialogue")
    return text_dialogue_request(text, asked.language, asked.answer_language or asked.language)


def _ask_instruction(asked: Asked) -> list[Turn]:
    return message_turns(asked.messages, asked.language)


def _said(example: Example) -> list[tuple[Units, str]]:
    """Units and language of each utterance."""
    return [(sentence.units, sentence.language) for sentence in example.utterances]


def _text_itself(document: Mapping[str, Any]) -> Iterator[str]:
    yield document["text"]


def _text_behind_request(document: Mapping[str, Any]) -> Iterator[str]:
    yield after_space(document["text"])


def _texts_of_translation(document: Mapping[str, Any]) -> Iterator[str]:
    yield after_space(document["source"])
    yield document["target"]


def _texts_of_instruction(document: Mapping[str, Any]) -> Iterator[str]:
    contents = (message.get("content") for message in document["messages"] if isinstance(message, dict))
    return (content for content in contents if isinstance(content, str))


_DIALOGUE_FIELDS = ("question", "question_language", "question_text", "answer", "answer_language", "answer_text")
_STORE = ("store", "speakers")
_HEARD = ("manifest", "frames")
_TEXTS = ("documents", "control_tokens")

TASKS: dict[str, Task] = {
    "asr": Task("utterances", _asr, _STORE, request=_ask_asr, texts=_text_itself),
    "tts": Task("utterances", _tts, (*_STORE, "unit_noise"), request=_ask_tts, texts=_text_behind_request),
    "interleaved": Task(
        "utterances", _interleaved, (*_STORE, "unit_noise", "spans", "span_words"), reads_words=True
    ),
    "code_switched": Task(
        "groups", _code_switched, (*_STORE, "unit_noise", "num_sentences"), textless=True
    ),
    "story": Task(
        "stories", _story, (*_STORE, "joined_tokens", "switch_probability", "shortest_run"), textless=True
    ),
    "speech": Task("joined_utterances", _speech, (*_STORE, "joined_tokens"), textless=True),
    "dialogue": Task(
        "spoken_documents", spoken_turns, (*_STORE, "unit_noise", *_TEXTS, "order", "compression"), _DIALOGUE_FIELDS,
        _ask_dialogue, reads_words=True,
    ),
    "translation": Task(
        "documents", _translation, _TEXTS, TEXT_FIELDS["translation"], _ask_translation, _texts_of_translation
    ),
    "instruction": Task(
        "documents", _instruction, _TEXTS, TEXT_FIELDS["instruction"], _ask_instruction, _texts_of_instruction
    ),
    "text": Task("documents", _text, _TEXTS, TEXT_FIELDS["text"], texts=_text_itself),
    "text_dialogue": Task(
        "documents", _text_dialogue, (*_TEXTS, "order", "compression"), TEXT_FIELDS["text_dialogue"],
        _ask_text_dialogue,
    ),
    "audio_asr": Task("recordings", audio_asr, (*_HEARD, "speakers", "language_exponent")),
    "audio_distillation": Task(
        "taught_recordings", audio_distillation, (*_HEARD, "teacher_states", "speakers", "language_exponent")
    ),
    "audio_imitation": Task(
        "targets", audio_imitation,
        (*_HEARD, "targets", "speakers", "text_words", "text_documents", "span_words", "transcribing_weight"),
        reads_words=True,
    ),
    "audio_dialogue": Task(
        "recorded_documents", audio_dialogue, (*_HEARD, *_TEXTS, "order", "compression"), AUDIO_DIALOGUE_FIELDS
    ),
}  # fmt: skip
"""Name to task."""
