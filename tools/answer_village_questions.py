"""Answer one held-out spoken question of each direction: ``answer_village_questions.py CHECKPOINT CORPUS OUTPUT``.

Writes ``DIRECTION.question.wav``, ``DIRECTION.answer.wav``, ``DIRECTION.json`` and
``DIRECTION.time_line.json`` into the folder OUTPUT.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.errors import exit_with_status
from cslm.generation.respond import RespondConfig, answer_question, open_speaking_model


def main(checkpoint: str, corpus: str, output: str) -> None:
    """Answer the first question of each direction."""
    manifest = Path(corpus) / "dialogue_test.jsonl"
    audio = {utterance.id: resolve_audio(manifest, utterance) for utterance in read_manifest(manifest)}
    first: dict[str, dict[str, str]] = {}
    with (Path(corpus) / "test_dialogues.jsonl").open(encoding="utf-8") as lines:
        for dialogue in map(json.loads, lines):
            first.setdefault(dialogue["direction"], dialogue)
    Path(output).mkdir(parents=True, exist_ok=True)
    model = None
    for direction, dialogue in sorted(first.items()):
        start = str(Path(output) / direction)
        question = shutil.copy(audio[dialogue["question"]], f"{start}.question.wav")
        answer, language = f"{start}.answer.wav", dialogue["answer_language"]
        config = RespondConfig(checkpoint, question, answer, answer_language=language)
        config.json, config.time_line = f"{start}.json", f"{start}.time_line.json"
        model = model or open_speaking_model(config)
        answer_question(model, config)


if __name__ == "__main__":
    exit_with_status(lambda: main(*sys.argv[1:4]))
