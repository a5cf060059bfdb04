"""Two dozen written questions with answers, a table of their translations, and a listener that knows recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cslm.audio.waveform import load_waveform, to_int16
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.evaluation.recognizers import Clip
from cslm.synthesis.failure import Failure
from cslm.synthesis.listener_config import AsrListenerConfig

_THINGS = [
    ("the apple", "red", "der Apfel", "rot", "りんご", "あかい"),
    ("the sky", "blue", "der Himmel", "blau", "そら", "あおい"),
    ("the snow", "white", "der Schnee", "weiß", "ゆき", "しろい"),
    ("the night", "black", "die Nacht", "schwarz", "よる", "くろい"),
    ("the lemon", "yellow", "die Zitrone", "gelb", "れもん", "きいろい"),
    ("the meadow", "green", "die Wiese", "grün", "くさ", "みどり"),
    ("the fox", "brown", "der Fuchs", "braun", "きつね", "ちゃいろい"),
    ("the mouse", "grey", "die Maus", "grau", "ねずみ", "はいいろ"),
]
_FORMS = [
    ("What colour is {}?", "Welche Farbe hat {}?", "{}は なにいろ ですか。"),
    ("Please tell me how {} looks.", "Bitte sag mir, wie {} aussieht.", "{}が どんな いろか おしえて ください。"),
    ("Is there anything like {}?", "Gibt es etwas wie {}?", "{}の ような ものは ありますか。"),
]
_ANSWERS = ("I think that {} is {}.", "Ich denke, {} ist {}.", "{}は {}と おもいます。")

BAD_ROWS = [
    {"instruction": "Shorten this text.", "input": "A long text.", "output": "A text."},
    {"instruction": "Write a loop that counts.", "input": "", "output": "for i in range(3): print(i)"},
    {"instruction": "Where is the page?", "input": "", "output": "See www.example.com for more."},
    {"instruction": "What is half of ten?", "input": "", "output": "10 / 2 = 5"},
    {"instruction": "Why?", "input": "", "output": "Nobody knows the reason."},
    {"instruction": "What colour is the apple?", "input": "", "output": "Red."},
    {"instruction": "Tell me about the moon.", "input": "", "output": None},
]
"""Rows that become nothing, and none of them for the reason of another."""
BAD_KINDS = ["input", "code", "address", "math", "few_words", "doubled", "few_words"]


def texts() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Question and answer, each in English, German and Japanese."""
    found = []
    for form in _FORMS:
        for thing in _THINGS:
            names, colours = thing[0::2], thing[1::2]
            question = tuple(of.format(name) for of, name in zip(form, names, strict=True))
            said = zip(_ANSWERS, names, colours, strict=True)
            found.append((question, tuple(of.format(name, colour) for of, name, colour in said)))
    return found


def write_rows(path: Path, num_rows: int = 24) -> Path:
    """Good rows in Alpaca's layout, and the bad ones behind them."""
    rows: list[dict[str, Any]] = [
        {"instruction": question[0], "input": "", "output": answer[0]} for question, answer in texts()[:num_rows]
    ]
    rows += BAD_ROWS
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), "utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_table(path: Path) -> Path:
    """All translations."""
    lines = ["\t".join(line) for question, answer in texts() for line in (question, answer)]
    path.write_text("\n".join(["en\tde\tja", *lines]) + "\n", "utf-8")
    return path


class KnowingListener:
    """Hears in each recording what its file (``model``) says: a map of samples to texts."""

    def __init__(self, config: AsrListenerConfig) -> None:
        self._known: dict[str, str] = json.loads(Path(config.model).read_text("utf-8"))

    def facts(self, language: str) -> dict[str, Any]:
        """What it knows."""
        if language == "fr":
            raise UserError("the listener hears no French")
        return {"listener": "knowing", "known": len(self._known)}

    def hear(self, clips: Sequence[Clip], language: str) -> list[str | Failure]:
        """The text of each recording; of one that it does not know, why there is none."""
        return [self._known.get(_digest(clip)) or Failure("was never heard before") for clip in clips]


def write_known(manifest: Path, path: Path, heard: dict[str, str]) -> Path:
    """What :class:`KnowingListener` hears: the text of each utterance, or what ``heard`` says by its id."""
    known = {}
    for row in read_manifest(manifest):
        clip = load_waveform(resolve_audio(manifest, row))
        known[_digest(clip)] = heard.get(row.id, row.text)
    path.write_text(json.dumps(known), "utf-8")
    return path


def _digest(clip: Clip) -> str:
    return hashlib.sha256(to_int16(clip[0]).tobytes()).hexdigest()
