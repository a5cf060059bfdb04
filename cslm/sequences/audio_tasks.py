"""Tasks in which a recording stands before the model as vectors, and the reply is text.

A request is an instruction, a line break and the recording, or the recording alone: training, prompts and the chat
template of the processor write it here.
"""

from __future__ import annotations

from cslm.errors import UserError
from cslm.sequences.chain_of_modality import chain_content
from cslm.sequences.chains import CHAINS
from cslm.sequences.conversations import writes
from cslm.sequences.further_texts import further_texts
from cslm.sequences.hearing import Heard
from cslm.sequences.sequence import Clip, Sequence, SequenceBuilder
from cslm.sequences.sequence_format import Content, SequenceFormat, Turn
from cslm.sequences.task import Draw, Example, Settings
from cslm.sequences.wordings import worded_instruction

AUDIO_DIALOGUE_FIELDS = ("question", "question_language", "question_text", "answer_language", "answer_text")
AFTER_INSTRUCTION = "\n"
AUDIO = "{audio}"
"""where an instruction has the recording, if not behind it"""


def audio_asr(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    """A recording to its transcript."""
    (heard,) = example.heard
    instruction = worded_instruction("asr", draw.seed, heard.language)
    turns = audio_request(form, heard, instruction)
    return form.conversation("audio_asr", [*turns, Turn("assistant", heard.language, writes(heard.text))])


def audio_dialogue(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    """A spoken question to its answer, or to a chain that ends in it.

    A document may have a field ``instruction``, which stands before the recording.
    """
    document, (heard,) = example.document, example.heard
    language, order = document["answer_language"], draw.settings.order
    reply = writes(document["answer_text"])
    if writes_chain(order):
        further = further_texts(CHAINS[order], document, draw)
        languages = document["question_language"], language
        chunks = [(document["answer_text"], None)]
        reply = chain_content(form, order, document["question_text"], chunks, *languages, further)
    turns = audio_request(form, heard, document.get("instruction"))
    return form.conversation("audio_dialogue", [*turns, Turn("assistant", language, reply)])


def writes_chain(order: str) -> bool:
    """Whether a reply is written in the chain of this name; else, where none was chosen, it is the answer alone.

    Raises:
        UserError: a chain was chosen that has markers, or speech, which such a model does not write.
    """
    chain = CHAINS[order]
    if not chain.markers and not chain.speaks:
        return True
    if order != Settings().order:
        without = ", ".join(name for name, it in CHAINS.items() if not it.markers and not it.speaks)
        raise UserError(f"the order {order} needs markers or units, which this model has not: choose one of {without}")
    return False


def audio_request(form: SequenceFormat, heard: Heard, instruction: str | None = None) -> list[Turn]:
    """The turns before a reply: an instruction, if there is one, and a recording."""
    before, after = around_audio(instruction)
    content = one_after_another(
        [
            *([writes(before)] if before else []),
            hears(form, heard.clip, heard.num_samples, heard.language),
            *([writes(after)] if after else []),
        ]
    )
    return [Turn("user", heard.language, content)]


def around_audio(instruction: str | None) -> tuple[str, str]:
    """The texts before and behind a recording: an instruction may say where it stands by :data:`AUDIO`.

    One that does not stands before it, on a line of its own.

    Raises:
        UserError: it says so twice.
    """
    if not instruction:
        return "", ""
    if instruction.count(AUDIO) > 1:
        raise UserError(f"the instruction {instruction!r} holds {AUDIO} {instruction.count(AUDIO)} times: once at most")
    if AUDIO in instruction:
        before, _, after = instruction.partition(AUDIO)
        return before, after
    return instruction + AFTER_INSTRUCTION, ""


def hears(form: SequenceFormat, clip: Clip, num_samples: int, language: str) -> Content:
    """A content that is a recording in a language; what follows is in the language of before.

    Raises:
        UserError: the recording is too short or too long.
    """
    hearing = form.hearing
    fault = hearing.fault(num_samples)
    if fault is not None:
        raise UserError(f"a recording is {fault}")

    def write(builder: SequenceBuilder) -> None:
        builder.in_language(language)
        builder.add_audio(hearing.num_places(num_samples), hearing.placeholder_id, clip)

    return write


def one_after_another(parts: list[Content]) -> Content:
    """A content of several."""

    def write(builder: SequenceBuilder) -> None:
        for part in parts:
            part(builder)

    return write
