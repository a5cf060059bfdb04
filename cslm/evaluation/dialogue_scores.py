"""Answers to spoken questions: the replies as lines of replies.jsonl, and the scores that follow from these lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cslm.audio.waveform import save_waveform
from cslm.errors import UserError
from cslm.evaluation.error_rates import text_errors
from cslm.evaluation.facts import is_off_target, share_scores, states_fact
from cslm.evaluation.recognizers import Clip
from cslm.evaluation.scored_model import ScoredModel, load_clip, spread
from cslm.files.json_lines import read_json_lines
from cslm.generation.speech_tasks import SpokenAnswer
from cslm.sequences.chunking import join_chunks

Record = dict[str, Any]
_FIELDS = ("id", "direction", "question", "question_language", "answer_language", "question_reference", "fact",
           "wrong_facts")  # fmt: skip


def answer_dialogues(scored: ScoredModel, wav_folder: Path) -> list[Record]:
    """Answer every test question, speak, listen; a line of replies.jsonl for each, and a wav in ``wav_folder``.

    Each chunk is decoded to a waveform of its own, as streaming playback would. It is tokenized again and transcribed
    by the model, chunk by chunk (``recognize_by: chunk``) or the joined answer at once. The wav is the chunks joined.

    Raises:
        UserError: a test set that cannot be read or does not fit together.
    """
    rows, questions = _test_rows(scored)
    units = dict(zip(questions, scored.processor.units_batch(list(questions.values())), strict=True))
    answers = scored.tasks.answer(
        [units[row["question"]] for row in rows],
        [row["question_language"] for row in rows],
        [row["answer_language"] for row in rows],
        scored.config.dialogue,
        scored.drawing(),
        "answer",
    )
    spoken = _speak_chunks(scored, rows, answers)
    joined = [_join(clips, scored.processor.speech_decoder().sample_rate_hz) for clips in spoken]
    heard = _listen(scored, rows, spoken, joined)
    others = _listen_otherwise(scored, rows, joined)
    replies = []
    for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        wav = wav_folder / f"{row['id']}.wav"
        save_waveform(wav, *joined[index])
        reply = _reply(row, answer, len(spoken[index]), heard[index], f"{wav_folder.name}/{wav.name}")
        reply |= _tokens_to_first_speech(answer, scored)
        if others[index] is not None:
            reply["other_ear"] = others[index]
        replies.append(reply)
    return replies


def dialogue_scores(replies: Sequence[Record], seed: int = 0) -> dict[str, Record]:
    """``dialogue`` by direction, from the lines of replies.jsonl alone."""
    groups: dict[str, list[Record]] = {}
    for reply in replies:
        groups.setdefault(reply["direction"], []).append(reply)
    return {direction: _direction_scores(group, np.random.default_rng(seed)) for direction, group in groups.items()}


def _direction_scores(replies: Sequence[Record], generator: np.random.Generator) -> Record:
    asked, answered = replies[0]["question_language"], replies[0]["answer_language"]
    texts = [reply["answer"] for reply in replies]
    heard = [reply["heard"] for reply in replies]
    scores: Record = {"n": len(replies)}
    scores |= share_scores([_is_right(reply, reply["answer"]) for reply in replies], "text_accuracy")
    scores |= share_scores([_is_right(reply, reply["heard"]) for reply in replies], "speech_accuracy")
    errors = text_errors(texts, heard, answered)
    low, high = errors.interval(generator)
    scores |= {"asr_er": round(errors.rate, 5), "asr_er_interval": [round(low, 5), round(high, 5)]}
    scores["off_target"] = round(sum(is_off_target(text, answered) for text in texts) / len(texts), 5)
    transcripts = [reply["question"] or "" for reply in replies]
    questions = text_errors([reply["question_reference"] for reply in replies], transcripts, asked)
    scores["question_er"] = round(questions.rate, 5)
    others = [reply for reply in replies if "other_ear" in reply]
    if others:
        scores |= share_scores([_is_right(reply, reply["other_ear"]) for reply in others], "other_ear_accuracy")
        scores["other_ear_n"] = len(others)
    scores["tokens_to_first_speech"] = _latencies(replies)
    return scores


def _is_right(reply: Record, text: str) -> bool:
    return states_fact(text, reply["fact"], reply["wrong_facts"], reply["answer_language"])


def _latencies(replies: Sequence[Record]) -> Record:
    """Mean tokens before the first playable speech, by the number of chunks, in the two orders of the same replies."""
    scores: Record = {}
    spoken = [reply for reply in replies if reply["num_chunks"] and reply["tokens_to_first_speech"]]
    for num_chunks in sorted({reply["num_chunks"] for reply in spoken}):
        found = [reply["tokens_to_first_speech"] for reply in spoken if reply["num_chunks"] == num_chunks]
        interleaved = float(np.mean([tokens["interleaved"] for tokens in found]))
        full = float(np.mean([tokens["full"] for tokens in found]))
        scores[str(num_chunks)] = {
            "interleaved": round(interleaved, 2),
            "full": round(full, 2),
            "ratio": round(full / interleaved, 3),
            "n": len(found),
        }
    return scores


def _test_rows(scored: ScoredModel) -> tuple[list[Record], dict[str, Clip]]:
    """The test dialogues, at most ``max_items`` a direction, and the waveform of each question by its id."""
    config = scored.config
    assert config.test_dialogues is not None and config.dialogue_test is not None
    audio = {utterance.id: (utterance, path) for utterance, path in scored.utterances(config.dialogue_test)}
    path = scored.path(config.test_dialogues)
    groups: dict[str, list[Record]] = {}
    for number, row in read_json_lines(path):
        missing = [name for name in _FIELDS if name not in row]
        if missing:
            raise UserError(f"{path}, line {number}: misses the field {missing[0]!r}: prepare the corpus again")
        if row["question"] not in audio:
            raise UserError(f"{path}, line {number}: {config.dialogue_test} holds no question {row['question']!r}")
        groups.setdefault(row["direction"], []).append(row)
    if not groups:
        raise UserError(f"{path} holds no dialogue: prepare the corpus again")
    rows = [row for group in groups.values() for row in spread(group, config.max_items)]
    asked = dict.fromkeys(row["question"] for row in rows)
    return rows, {question: load_clip(*audio[question]) for question in asked}


def _speak_chunks(scored: ScoredModel, rows: Sequence[Record], answers: Sequence[SpokenAnswer]) -> list[list[Clip]]:
    """The waveform of every chunk of every answer that has units."""
    chunks = [
        (index, units) for index, answer in enumerate(answers) for _, units in answer.reply.segments if len(units)
    ]
    clips = scored.speak([units for _, units in chunks], [rows[index]["answer_language"] for index, _ in chunks])
    spoken: list[list[Clip]] = [[] for _ in rows]
    for (index, _), clip in zip(chunks, clips, strict=True):
        spoken[index].append(clip)
    return spoken


def _join(clips: Sequence[Clip], sample_rate_hz: int) -> Clip:
    return np.concatenate([np.zeros(0, np.float32), *(waveform for waveform, _ in clips)]), sample_rate_hz


def _listen(
    scored: ScoredModel, rows: Sequence[Record], spoken: Sequence[list[Clip]], joined: Sequence[Clip]
) -> list[str]:
    """What the model hears in each spoken answer."""
    parts = spoken if scored.config.recognize_by == "chunk" else [[clip] for clip in joined]
    owners = [index for index, clips in enumerate(parts) for _ in clips]
    clips = [clip for group in parts for clip in group]
    texts = scored.ear.transcribe(clips, [rows[index]["answer_language"] for index in owners], "listen to the answers")
    heard: list[list[str]] = [[] for _ in rows]
    for index, text in zip(owners, texts, strict=True):
        heard[index].append(text)
    return [join_chunks(texts) for texts in heard]


def _listen_otherwise(scored: ScoredModel, rows: Sequence[Record], joined: Sequence[Clip]) -> list[str | None]:
    """What the other ear hears, in the languages that it knows."""
    heard: list[str | None] = [None] * len(rows)
    if scored.other_ear is None or scored.config.other_ear is None:
        return heard
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if scored.other_ear.hears(row["answer_language"]):
            groups.setdefault(row["direction"], []).append(index)
    chosen = [index for group in groups.values() for index in spread(group, scored.config.other_ear.max_items)]
    texts = scored.other_ear.transcribe([joined[i] for i in chosen], [rows[i]["answer_language"] for i in chosen])
    for index, text in zip(chosen, texts, strict=True):
        heard[index] = text
    return heard


def _reply(row: Record, answer: SpokenAnswer, num_chunks: int, heard: str, wav: str) -> Record:
    return {
        "id": row["id"],
        "direction": row["direction"],
        "question_language": row["question_language"],
        "answer_language": row["answer_language"],
        "question_reference": row["question_reference"],
        "fact": row["fact"],
        "wrong_facts": row["wrong_facts"],
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
