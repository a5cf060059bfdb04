"""What the frozen language model answers to bare texts: to transcripts, and to what a recognizer has heard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cslm.corpora.manifest import Utterance, resolve_audio
from cslm.evaluation.scored_model import load_clip
from cslm.files.atomic_file import write_atomically
from cslm.generation.text_answers import text_answers
from cslm.model.frozen_llm import open_frozen_llm
from cslm.sequences.imitation import TASK, text_request
from cslm.sequences.task_pool import Asked
from cslm.synthesis.asr_listener import AsrListener
from cslm.synthesis.listener_config import AsrListenerConfig

LONGEST_ANSWER = 40
"""tokens"""
_BATCH = 32
_NOTHING = Asked("", "")


def answers_to_texts(
    llm: Path, texts: Sequence[tuple[str, str]], kept: Path, asked: Sequence[Asked] | None = None
) -> list[str]:
    """The greedy answer to each text ``(text, language)``.

    Args:
        llm: folder of the language model.
        kept: file of the answers; what is there is not asked again.
        asked: the words around each text; None where it is all that a user says.
    """
    if not kept.is_file():
        opened = open_frozen_llm(str(llm), device="cpu")
        around = [_NOTHING] * len(texts) if asked is None else asked
        requests = [text_request(text, one, code) for (text, code), one in zip(texts, around, strict=True)]
        prompts = [opened.form.prompt(TASK, request).ids for request in requests]
        found = [answer.text.strip() for answer in text_answers(opened, prompts, LONGEST_ANSWER, _BATCH)]
        _keep(kept, texts, found)
    return _kept(kept, texts)


def heard_texts(recognizer: Path, manifest: Path, utterances: Sequence[Utterance], kept: Path) -> list[str]:
    """What a recognizer writes down of each recording; nothing of one that it cannot hear.

    Args:
        recognizer: its folder; it is told each language.
        manifest: of the utterances.
        kept: file of the texts; what is there is not listened to again.
    """
    names = [(utterance.id, utterance.language) for utterance in utterances]
    if not kept.is_file():
        listener = open_recognizer(recognizer)
        heard: dict[str, str] = {}
        for language in sorted({utterance.language for utterance in utterances}):
            own = [utterance for utterance in utterances if utterance.language == language]
            clips = [load_clip(utterance, Path(resolve_audio(manifest, utterance))) for utterance in own]
            for utterance, text in zip(own, listener.hear(clips, language), strict=True):
                heard[utterance.id] = text if isinstance(text, str) else ""
        _keep(kept, names, [heard[name] for name, _ in names])
    return _kept(kept, names)


def open_recognizer(recognizer: Path) -> AsrListener:
    """A recognizer by its folder."""
    return AsrListener(AsrListenerConfig(str(recognizer), device="cpu", batch_size=_BATCH))


def _keep(path: Path, asked: Sequence[tuple[str, str]], found: Sequence[str]) -> None:
    rows = [[*one, text] for one, text in zip(asked, found, strict=True)]
    write_atomically(path, json.dumps(rows, ensure_ascii=False, indent=1).encode("utf-8"))


def _kept(path: Path, asked: Sequence[tuple[str, str]]) -> list[str]:
    rows = json.loads(path.read_bytes())
    assert [tuple(row[:2]) for row in rows] == list(asked), f"{path} holds answers to others"
    return [row[2] for row in rows]
