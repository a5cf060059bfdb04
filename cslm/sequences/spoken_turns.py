"""Spoken dialogues of one turn or several, as documents name them, and what is kept of an answer that was stopped.

Earlier turns stand in a training document as a conversation keeps them for its next prompt
(``cslm.generation.conversation``): the answer to a question is learnt behind the ids that generation will read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np

from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import Chunk, chain_content, check_chain, dialogue_request_turns
from cslm.sequences.chains import Chain
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.further_texts import further_texts
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.sequences.task import Draw, Example
from cslm.units.store import StoreRow

TURNS = "turns"
"""The field of a document that lists its turns, each with the fields of a document of one turn."""
HEARD_SEC = "heard_sec"
"""The field of a turn whose answer was stopped: how much of its recording was heard."""


def spoken_turns(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    """Spoken questions and their answers in the chain of modality, one after the other.

    An answer that was stopped is read and not learnt: where it ends was not the model's choice. A turn of whose answer
    nothing was heard is left out.

    Raises:
        UserError: as :func:`~cslm.sequences.chain_of_modality.check_chain`; an answer of several chunks without word
            times.
    """
    order = draw.settings.order
    chain = check_chain(form, order)
    documents = example.document.get(TURNS, [example.document])
    per_turn = len(example.utterances) // len(documents)
    turns: list[Turn] = []
    for number, document in enumerate(documents):
        question, *answer = example.utterances[number * per_turn : (number + 1) * per_turn]
        chunks: list[Chunk] = [(document["answer_text"], None)]
        heard_sec = document.get(HEARD_SEC) if chain.speaks else None
        if chain.speaks:
            spoken = _spoken_chunks(chain, document, answer[0], example, order)
            if heard_sec is not None:
                spoken = first_units(spoken, num_units_heard(spoken, heard_sec, example.frame_rate_hz))
            chunks = [*spoken]
        if not chunks:
            continue
        asked, answered = document["question_language"], document["answer_language"]
        content = chain_content(
            form, order, document["question_text"], chunks, asked, answered, further_texts(chain, document, draw)
        )
        turns += dialogue_request_turns(question.units, asked, answered)
        turns.append(Turn("assistant", answered, content, learnt=heard_sec is None))
    return form.conversation("dialogue", turns)


def first_units(chunks: Iterable[tuple[str, Units]], num_units: int) -> list[tuple[str, Units]]:
    """The chunks up to the one that holds the last of so many units, and that one up to it."""
    kept = []
    for text, units in chunks:
        if num_units <= 0:
            break
        kept.append((text, Units(units.ids[:num_units])))
        num_units -= len(units)
    return kept


def num_units_heard(chunks: Iterable[tuple[str, Units]], seconds: float, frame_rate_hz: float) -> int:
    """How many units of an answer were heard whole in its first ``seconds``."""
    lasting = [np.ones(len(units), np.int64) if units.durations is None else units.durations for _, units in chunks]
    ends = np.cumsum(np.concatenate(lasting)) / frame_rate_hz
    return int((ends <= seconds).sum())


def check_turns(turns: Any) -> Seq[Mapping[str, Any]]:
    """``turns``, a list of turns of which the last answer was not stopped.

    Raises:
        UserError: it is none.
    """
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise UserError(f"the field {TURNS} must be a list of objects, one a turn")
    for number, turn in enumerate(turns, start=1):
        seconds = turn.get(HEARD_SEC)
        if seconds is None:
            continue
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not 0 <= seconds < float("inf"):
            raise UserError(
                f"turn {number} has {HEARD_SEC} {seconds!r}: give the seconds of its answer that were heard"
            )
        if number == len(turns):
            raise UserError(
                f"turn {number}, the last, has {HEARD_SEC}: of an answer that was stopped nothing is learnt; add the "
                "turn that follows, or leave it out"
            )
    return turns


def _spoken_chunks(
    chain: Chain, document: Mapping[str, Any], answer: StoreRow, example: Example, order: str
) -> list[tuple[str, Units]]:
    """The answer as the chain cuts it, with its units.

    Raises:
        UserError: several chunks, and no word times to cut the units by.
    """
    text, language = document["answer_text"], document["answer_language"]
    chunks = chunk_text(text, language) if chain.chunked else [text]
    if len(chunks) > 1 and answer.words is None:
        raise UserError(
            f"the utterance {answer.id} of {example.where} has no word times (words), and the order {order} cuts "
            "answers by them: align the corpus, or use order: full"
        )
    return speak_chunks(chunks, answer.units, answer.words, example.frame_rate_hz)
