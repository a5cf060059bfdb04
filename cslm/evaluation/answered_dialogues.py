"""Held-out spoken questions, answered, spoken and listened to: the lines of replies.jsonl."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.evaluation.recognizers import Clip
from cslm.evaluation.score_contract import Record
from cslm.evaluation.scored_model import ScoredModel, load_clip, spread
from cslm.files.json_lines import read_json_lines
from cslm.generation.decoding import DecodingConfig
from cslm.generation.speech_tasks import SpokenAnswer
from cslm.sequences.chunking import join_chunks

_FIELDS = ("id", "direction", "question", "question_language", "answer_language", "question_reference", "fact",
           "wrong_facts")  # fmt: skip


def read_test_dialogues(scored: ScoredModel, questions: str, dialogues: str) -> tuple[list[Record], dict[str, Clip]]:
    """The test dialogues, at most ``max_items`` a direction, and the waveform of each question by its id.

    Args:
        questions: manifest of the spoken questions.
        dialogues: JSON Lines, from the data root on.

    Raises:
        UserError: a test set that cannot be read, or questions and dialogues that do not fit together.
    """
    audio = {utterance.id: (utterance, path) for utterance, path in scored.utterances(questions)}
    path = scored.path(dialogues)
    groups: dict[str, list[Record]] = {}
    for number, dialogue in read_json_lines(path):
        missing = [name for name in _FIELDS if name not in dialogue]
        if missing:
            raise UserError(f"{path}, line {number}: misses the field {missing[0]!r}: prepare the corpus again")
        if dialogue["question"] not in audio:
            raise UserError(f"{path}, line {number}: {questions} holds no question {dialogue['question']!r}")
        groups.setdefault(dialogue["direction"], []).append(_with_tags(dialogue, f"{path}, line {number}"))
    if not groups:
        raise UserError(f"{path} holds no dialogue: prepare the corpus again")
    chosen = [dialogue for group in groups.values() for dialogue in spread(group, scored.config.max_items)]
    asked = dict.fromkeys(dialogue["question"] for dialogue in chosen)
    return chosen, {question: load_clip(*audio[question]) for question in asked}


def answer_dialogues(
    scored: ScoredModel,
    dialogues: Sequence[Record],
    questions: dict[str, Clip],
    decoding: DecodingConfig,
    by_chunk: bool,
) -> list[Record]:
    """Answer every test question, speak, listen; a line of replies.jsonl for each, and a wav in ``replies/``.

    Each chunk is decoded to a waveform of its own, as streaming playback would. It is tokenized again and transcribed
    by the model: ``by_chunk``, or the joined answer at once. The wav is the chunks joined.
    """
    units = dict(zip(questions, scored.processor.units_batch(list(questions.values())), strict=True))
    answers = scored.tasks.answer(
        [units[dialogue["question"]] for dialogue in dialogues],
        [dialogue["question_language"] for dialogue in dialogues],
        [dialogue["answer_language"] for dialogue in dialogues],
        decoding,
        scored.drawing(),
        "answer",
    )
    spoken = _speak_chunks(scored, dialogues, answers)
    joined = [_join(clips, scored.processor.speech_decoder().sample_rate_hz) for clips in spoken]
    heard = _listen(scored, dialogues, spoken if by_chunk else [[clip] for clip in joined])
    others = _listen_otherwise(scored, dialogues, joined)
    folder = scored.folder / "replies"
    replies = []
    for index, (dialogue, answer) in enumerate(zip(dialogues, answers, strict=True)):
        wav = folder / f"{dialogue['id']}.wav"
        save_waveform(wav, *joined[index])
        reply = _reply(dialogue, answer, len(spoken[index]), heard[index], f"{folder.name}/{wav.name}")
        reply |= _tokens_to_first_speech(answer, scored)
        if others[index] is not None:
            reply["other_ear"] = others[index]
        replies.append(reply)
    return replies


def _speak_chunks(
    scored: ScoredModel, dialogues: Sequence[Record], answers: Sequence[SpokenAnswer]
) -> list[list[Clip]]:
    """The waveform of every chunk of every answer that has units."""
    chunks = [
        (index, units) for index, answer in enumerate(answers) for _, units in answer.reply.segments if len(units)
    ]
    clips = scored.speak([units for _, units in chunks], [dialogues[index]["answer_language"] for index, _ in chunks])
    spoken: list[list[Clip]] = [[] for _ in dialogues]
    for (index, _), clip in zip(chunks, clips, strict=True):
        spoken[index].append(clip)
    return spoken


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


def _reply(dialogue: Record, answer: SpokenAnswer, num_chunks: int, heard: str, wav: str) -> Record:
    return {
        "id": dialogue["id"],
        "direction": dialogue["direction"],
        "question_language": dialogue["question_language"],
        "answer_language": dialogue["answer_language"],
        "question_reference": dialogue["question_reference"],
        "fact": dialogue["fact"],
        "wrong_facts": dialogue["wrong_facts"],
        "question": answer.reply.question,
        "answer": answer.reply.answer,
        "heard": heard,
        "num_chunks": num_chunks,
        "wav": wav,
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
