"""A few stories of two languages with a table of their translations, and the options by which they are told."""

from __future__ import annotations

from pathlib import Path

PEOPLE = {"Tom": "Tom", "Mia": "Mia", "Ben": "Ben", "Lily": "Lily"}
THINGS = {"dog": "chien", "cat": "chat", "bird": "canard"}


def stories(count: int) -> list[list[tuple[str, str]]]:
    """Sentences of each story in English and French; no two stories have the same ending."""
    told = []
    for number in range(count):
        name = list(PEOPLE)[number % 4]
        thing, animal = list(THINGS.items())[number // 4 % 3]
        told.append(
            [
                (f"{name} saw a {thing}.", f"{name} vit un {animal}."),
                (f"The {thing} ran to {name}.", f"Le {animal} courut vers {name}."),
                (f"{name} gave it bread {number} times.".replace(str(number), _WORDS[number % 10][0]),
                 f"{name} lui donna du pain {_WORDS[number % 10][1]} fois."),
            ]
        )  # fmt: skip
    return told


_WORDS = (
    ("no", "zéro"), ("one", "une"), ("two", "deux"), ("three", "trois"), ("four", "quatre"),
    ("five", "cinq"), ("six", "six"), ("seven", "sept"), ("eight", "huit"), ("nine", "neuf"),
)  # fmt: skip


def write_texts(folder: Path, count: int = 6) -> tuple[Path, Path]:
    """A file in the layout of TinyStories, and a table of translations."""
    folder.mkdir(parents=True, exist_ok=True)
    told = stories(count)
    texts = folder / "tales.txt"
    texts.write_text("<|endoftext|>\n".join("\n".join(english for english, _ in one) + "\n" for one in told))
    table = folder / "table.tsv"
    pairs = dict.fromkeys(pair for one in told for pair in one)
    table.write_text("en\tfr\n" + "".join(f"{english}\t{french}\n" for english, french in pairs))
    return texts, table


def options(texts: Path, table: Path, *more: str) -> list[str]:
    """Of the command, with espeak-ng."""
    return [
        *("--texts.path", str(texts), "--source", "en", "--targets", "[fr]", "--splitter", "punctuation"),
        *("--translator.table.path", str(table), "--synthesizer.espeak.variants", "[m1, m3, f1]", *more),
    ]
