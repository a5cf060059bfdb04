"""Name one held-out spoken question of the village for each direction: ``village_questions.py CORPUS``.

Prints a line each: direction, wav file and language of the answer, divided by tabs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.errors import exit_with_status


def main(corpus: str) -> None:
    """Print the first question of each direction."""
    manifest = Path(corpus) / "dialogue_test.jsonl"
    audio = {utterance.id: resolve_audio(manifest, utterance) for utterance in read_manifest(manifest)}
    first: dict[str, dict[str, str]] = {}
    with (Path(corpus) / "test_dialogues.jsonl").open(encoding="utf-8") as lines:
        for dialogue in map(json.loads, lines):
            first.setdefault(dialogue["direction"], dialogue)
    for direction, dialogue in sorted(first.items()):
        print(direction, audio[dialogue["question"]], dialogue["answer_language"], sep="\t")


if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1]))
