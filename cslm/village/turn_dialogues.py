"""Spoken dialogues of several turns: the village's questions and answers, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cslm.corpora.manifest import Utterance
from cslm.village.sentences import Question, Teller
from cslm.village.size import VillageSize

Record = dict[str, Any]


def turn_dialogues(
    tellers: list[Teller],
    asked: dict[str, list[tuple[Question, Utterance]]],
    answered: dict[str, dict[Question, Utterance]],
    size: VillageSize,
    generator: np.random.Generator,
) -> Iterator[Record]:
    """Dialogues to learn from: one voice asks, and each answer is in a language drawn anew.

    A turn does not depend on those before it: what is learnt is to answer the last question, whatever came before.

    Args:
        generator: decides who asks what, the languages of the answers, and which of these are stopped.
    """
    codes = [teller.language.language for teller in tellers]
    for code in codes:
        by_voice: dict[str, list[tuple[Question, Utterance]]] = {}
        for question, utterance in asked[code]:
            by_voice.setdefault(str(utterance.speaker), []).append((question, utterance))
        voices = [voice for voice, own in by_voice.items() if len(own) > 1]
        for number in range(size.num_turn_dialogues if voices else 0):
            own = by_voice[voices[int(generator.integers(len(voices)))]]
            num_turns = min(len(own), int(generator.integers(2, size.longest_dialogue + 1)))
            turns: list[Record] = []
            for place in generator.choice(len(own), num_turns, replace=False).tolist():
                question, utterance = own[place]
                answer = answered[codes[int(generator.integers(len(codes)))]][question]
                turns.append(_turn(utterance, answer))
                if len(turns) < num_turns and generator.random() < size.interrupted_fraction:
                    heard = generator.uniform(0.1, 0.9) * (answer.duration_sec or 0.0)
                    turns[-1]["heard_sec"] = round(float(heard), 3)
            yield {"id": f"{code}-turns-{number:06d}", "kind": "turns", "question_language": code, "turns": turns}


def turn_tests(rows: Iterable[Record], size: VillageSize) -> Iterator[Record]:
    """The test questions once more, each direction in dialogues: a row ``follows`` the one that is asked before it."""
    by_direction: dict[str, list[Record]] = {}
    for row in rows:
        by_direction.setdefault(row["direction"], []).append(row)
    for direction, own in by_direction.items():
        before = ""
        for number, row in enumerate(own):
            turn = number % size.longest_dialogue + 1
            found = {**row, "id": f"{row['id']}-turn-{turn}", "direction": f"{direction}, turn {turn}"}
            yield found if turn == 1 else {**found, "follows": before}
            before = found["id"]


def _turn(question: Utterance, answer: Utterance) -> Record:
    return {
        "question": question.id,
        "question_text": question.text,
        "answer": answer.id,
        "answer_language": answer.language,
        "answer_text": answer.text,
    }
