"""Held-out spoken questions, answered, spoken and listened to: the lines of replies.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.evaluation.recognizers import Clip
from cslm.evaluation.reply_parts import read_parts
from cslm.evaluation.score_contract import Record
from cslm.evaluation.scored_model import ScoredModel, load_clip, spread
from cslm.evaluation.token_delay import part_fields, time_answers
from cslm.files.json_lines import read_json_lines
from cslm.generation.decoding import DecodingConfig
from cslm.generation.speech_tasks import SpokenAnswer
from cslm.sequences.chunking import join_chunks
from cslm.sequences.prompts import PastTurn

_FIELDS = ("id", "direction", "question", "question_language", "answer_language", "question_reference")
_FACTS = ("fact", "wrong_facts")
"""Both or none: an answer without exact facts is for a judge."""
FOLLOWS = "follows"
"""The id of the dialogue that is the turn before this one: it is asked behind that question and the model's answer."""


def read_test_dialogues(scored: ScoredModel, questions: str, dialogues: str) -> tuple[list[Record], dict[str, Clip]]:
    """The test dialogues, at most ``max_items`` a direction, and the waveform of each question by its id.

    The turns before those that are taken are taken too.

    Args:
        questions: manifest of the spoken questions.
        dialogues: JSON Lines, from the data root on.

    Raises:
        UserError: a test set that cannot be read, or questions and dialogues that do not fit together.
    """
    audio = {utterance.id: (utterance, path) for utterance, path in scored.utterances(questions)}
    path = scored.path(dialogues)
    found: list[Record] = []
    ids: set[str] = set()
    for number, dialogue in read_json_lines(path):
        needed = (*_FIELDS, *(_FACTS if any(name in dialogue for name in _FACTS) else ()))
        missing = [name for name in needed if name not in dialogue]
        if missing:
            raise UserError(f"{path}, line {number}: misses the field {missing[0]!r}: prepare the corpus again")
        if dialogue["question"] not in audio:
            raise UserError(f"{path}, line {number}: {questions} holds no question {dialogue['question']!r}")
        if str(dialogue["id"]) in ids:
            raise UserError(f"{path}, line {number}: another dialogue has the id {dialogue['id']!r}: give each its own")
        if dialogue.get(FOLLOWS) is not None and str(dialogue[FOLLOWS]) not in ids:
            raise UserError(
                f"{path}, line {number}: follows {dialogue[FOLLOWS]!r}, which no earlier line has as its id"
            )
        ids.add(str(dialogue["id"]))
        found.append(_with_tags(dialogue, f"{path}, line {number}"))
    if not found:
        raise UserError(f"{path} holds no dialogue: prepare the corpus again")
    chosen = [
        dialogue for group in _by_direction(found).values() for dialogue in spread(group, scored.config.max_items)
    ]
    chosen = _with_turns_before(chosen, found)
    asked = dict.fromkeys(dialogue["question"] for dialogue in chosen)
    return chosen, {question: load_clip(*audio[question]) for question in asked}


def answer_dialogues(
    scored: ScoredModel,
    dialogues: Sequence[Record],
    questions: dict[str, Clip],
    decoding: DecodingConfig,
    by_chunk: bool,
    timed_items: int = 0,
) -> list[Record]:
    """Answer every test question; a line of replies.jsonl for each. Where the chain speaks, the answers are heard.

    An answer is decoded as one utterance, which is what a stream of it joins to: the wav in ``replies/`` is what a
    listener hears. It is tokenized again and transcribed by the model: ``by_chunk``, cut where its chunks end, or at
    once. A dialogue that follows another is asked when that one is answered.

    Args:
        timed_items: so many questions of each direction are answered once more, alone, by the clock.
    """
    units = dict(zip(questions, scored.processor.units_batch(list(questions.values())), strict=True))
    answers, past = _answer_in_turn(scored, dialogues, units, decoding)
    replies = [_reply(scored, dialogue, answer) for dialogue, answer in zip(dialogues, answers, strict=True)]
    if scored.processor.chain.speaks:
        _add_speech(scored, replies, answers, by_chunk)
    if timed_items:
        chosen = [one for group in _by_direction(dialogues).values() for one in spread(group, timed_items)]
        timed = time_answers(scored.tasks, chosen, units, decoding, scored.drawing(), past)
        for reply in replies:
            reply.update(timed.get(str(reply["id"]), {}))
    return replies


def _answer_in_turn(
    scored: ScoredModel, dialogues: Sequence[Record], units: Mapping[str, Units], decoding: DecodingConfig
) -> tuple[list[SpokenAnswer], dict[str, tuple[PastTurn, ...]]]:
    """The answers, and by the id of each dialogue the turns before it; all first turns are answered together."""
    generator = scored.drawing()
    answers: dict[str, SpokenAnswer] = {}
    past: dict[str, tuple[PastTurn, ...]] = {}
    behind: dict[str, tuple[PastTurn, ...]] = {"": ()}  # the turns up to an answer, it included
    waiting = list(dialogues)
    while waiting:
        now = [dialogue for dialogue in waiting if str(dialogue.get(FOLLOWS) or "") in behind]
        waiting = [dialogue for dialogue in waiting if str(dialogue.get(FOLLOWS) or "") not in behind]
        assert now, "a dialogue follows one that is there"
        before = [behind[str(dialogue.get(FOLLOWS) or "")] for dialogue in now]
        asked = [units[dialogue["question"]] for dialogue in now]
        languages = [(dialogue["question_language"], dialogue["answer_language"]) for dialogue in now]
        spoken = scored.tasks.answer(
            asked,
            [pair[0] for pair in languages],
            [pair[1] for pair in languages],
            decoding,
            generator,
            "answer",
            before,
        )
        for dialogue, question, turns, answer in zip(now, asked, before, spoken, strict=True):
            name, said = str(dialogue["id"]), answer.reply
            turn = PastTurn(
                question, dialogue["question_language"], dialogue["answer_language"], tuple(said.segments), said.texts
            )
            answers[name], past[name], behind[name] = answer, turns, (*turns, turn) if said.segments else turns
    return [answers[str(dialogue["id"])] for dialogue in dialogues], past


def _with_turns_before(chosen: Sequence[Record], dialogues: Sequence[Record]) -> list[Record]:
    """The chosen dialogues, and those that they follow, in the order of all."""
    by_id = {str(dialogue["id"]): dialogue for dialogue in dialogues}
    names: set[str] = set()
    for dialogue in chosen:
        found: Record | None = dialogue
        while found is not None and str(found["id"]) not in names:
            names.add(str(found["id"]))
            found = by_id.get(str(found.get(FOLLOWS)))
    groups = _by_direction([dialogue for name, dialogue in by_id.items() if name in names])
    return [dialogue for group in groups.values() for dialogue in group]


def _by_direction(dialogues: Sequence[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for dialogue in dialogues:
        groups.setdefault(dialogue["direction"], []).append(dialogue)
    return groups


def _add_speech(scored: ScoredModel, replies: list[Record], answers: Sequence[SpokenAnswer], by_chunk: bool) -> None:
    """Speak and listen: what each line says of the speech in its answer, and its wav."""
    spoken = _speak_chunks(scored, replies, answers)
    joined = [_join(clips, scored.processor.speech_decoder().sample_rate_hz) for clips in spoken]
    heard = _listen(scored, replies, spoken if by_chunk else [[clip] for clip in joined])
    others = _listen_otherwise(scored, replies, joined)
    folder = scored.folder / "replies"
    for index, (reply, answer) in enumerate(zip(replies, answers, strict=True)):
        wav = folder / f"{reply['id']}.wav"
        save_waveform(wav, *joined[index])
        reply |= {"heard": heard[index], "num_chunks": len(spoken[index]), "wav": f"{folder.name}/{wav.name}"}
        reply |= _tokens_to_first_speech(answer, scored)
        if others[index] is not None:
            reply["other_ear"] = others[index]


def _speak_chunks(
    scored: ScoredModel, dialogues: Sequence[Record], answers: Sequence[SpokenAnswer]
) -> list[list[Clip]]:
    """The waveform of every answer, cut where its chunks end; those without units have none."""
    chunks = [[units for _, units in answer.reply.segments if len(units)] for answer in answers]
    languages = [dialogue["answer_language"] for dialogue in dialogues]
    return scored.speak_in_chunks(chunks, languages)


def _join(clips: Sequence[Clip], sample_rate_hz: int) -> Clip:
    return np.concatenate([np.zeros(0, np.float32), *(waveform for waveform, _ in clips)]), sample_rate_hz


def _listen(scored: ScoredModel, dialogues: Sequence[Record], parts: Sequence[list[Clip]]) -> list[str]:
    """What the model hears in each spoken answer, part by part."""
    owners = [index for index, clips in enumerate(parts) for _ in clips]
    clips = [clip for group in parts for clip in group]
    texts = scored.ear.transcribe(
        clips, [dialogues[index]["answer_language"] for index in owners], "listen to the answers"
    )
    heard: list[list[str]] = [[] for _ in dialogues]
    for index, text in zip(owners, texts, strict=True):
        heard[index].append(text)
    return [join_chunks(texts) for texts in heard]


def _listen_otherwise(scored: ScoredModel, dialogues: Sequence[Record], joined: Sequence[Clip]) -> list[str | None]:
    """What the other ear hears, in the languages that it knows."""
    heard: list[str | None] = [None] * len(dialogues)
    settings = scored.config.ears.other
    if scored.other_ear is None or settings is None:
        return heard
    groups: dict[str, list[int]] = {}
    for index, dialogue in enumerate(dialogues):
        if scored.other_ear.hears(dialogue["answer_language"]):
            groups.setdefault(dialogue["direction"], []).append(index)
    chosen = [index for group in groups.values() for index in spread(group, settings.max_items)]
    texts = scored.other_ear.transcribe([joined[i] for i in chosen], [dialogues[i]["answer_language"] for i in chosen])
    for index, text in zip(chosen, texts, strict=True):
        heard[index] = text
    return heard


def _with_tags(dialogue: Record, where: str) -> Record:
    """The dialogue with both languages by their tags."""
    try:
        tags = {name: language_tag(str(dialogue[name])) for name in ("question_language", "answer_language")}
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return {**dialogue, **tags}


_OF_DIALOGUE = ("id", "direction", "question_language", "answer_language", "question_reference", "fact", "wrong_facts",
                "answer_reference", "core_language", "core_question", "core_answer", FOLLOWS)  # fmt: skip


def _reply(scored: ScoredModel, dialogue: Record, answer: SpokenAnswer) -> Record:
    """What was asked, what a right answer is, what was written, and what parts it is made of."""
    processor = scored.processor
    parts = read_parts(processor.form, processor.chain, answer.ids)
    written = answer.reply.answer if processor.chain.speaks else parts.answer
    return {
        **{name: dialogue[name] for name in _OF_DIALOGUE if name in dialogue},
        "question": answer.reply.question,
        "answer": written,
        **part_fields(parts),
    }


def _tokens_to_first_speech(answer: SpokenAnswer, scored: ScoredModel) -> Record:
    """Generated tokens up to the first ``<eosp>``, inclusive: as the reply was written, and in the full order.

    The full order holds the same text and units with one ``<sosp>`` and one ``<eosp>``, so its speech can be played
    when all of it is there but the token that ends the turn.
    """
    vocabulary = scored.processor.vocabulary
    if vocabulary.eosp not in answer.ids:
        return {"tokens_to_first_speech": None}
    ended = answer.ids[-1] in scored.processor.end_ids
    saved = 2 * (answer.ids.count(vocabulary.eosp) - 1)
    full = len(answer.ids) - int(ended) - saved
    return {"tokens_to_first_speech": {"interleaved": answer.ids.index(vocabulary.eosp) + 1, "full": full}}
