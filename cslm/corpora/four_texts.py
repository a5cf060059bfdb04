"""A list of recordings with four texts each, as XS-CoT's data are published: ``de.list`` beside ``de.tar.gz``.

A line is a JSON object or a row of a table. Which key is which text differs from release to release: the known names
are tried, and ``keys`` names others.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

from cslm.corpora.cells import text_of
from cslm.corpora.chain_documents import TEXTS, FourTexts, chain_document, scored_document
from cslm.corpora.hugging_face import cell_of
from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake
from cslm.corpora.languages import language_tag
from cslm.corpora.listed_audio import ListedAudio, open_listed_audio
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.corpora.table_rows import QUOTINGS, open_text, read_rows
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.ranges import Range, check_numbers

KNOWN_KEYS: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "wav", "path", "audio_path", "wav_path", "file"),
    "id": ("id", "key", "utt", "utt_id"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "voice"),
    "question_text": (
        *("question_text", "instruction_{n}", "question_{n}", "instr_{n}"),
        *("{n}_instruction", "{n}_question"),
    ),
    "core_question": (
        *("core_question", "instruction_{c}", "question_{c}", "instr_{c}"),
        *("{c}_instruction", "{c}_question"),
    ),
    "core_answer": (
        *("core_answer", "response_{c}", "answer_{c}", "output_{c}", "resp_{c}"),
        *("{c}_response", "{c}_answer", "{c}_output"),
    ),
    "answer_text": (
        *("answer_text", "response_{n}", "answer_{n}", "output_{n}", "resp_{n}"),
        *("{n}_response", "{n}_answer", "{n}_output"),
    ),
}
"""Field to the keys that are tried for it; ``{n}`` is the language of who asks, ``{c}`` the core language."""

_OPTIONAL = ("id", "speaker")


@dataclass
class FourTextsConfig:
    """Where the list and its recordings are, and what its keys mean."""

    list_file: str
    """The list: a JSON object a line, or a table with a header (or see columns); gzipped or not."""
    language: str
    """BCP 47 language of who asks and is answered: de."""
    audio: str | None = None
    """Folder, .tar or .tar.gz of the recordings. Default: what is called as the list, beside it (de.tar.gz, de.tar or
    de). A .tar is read in place; of a .tar.gz the recordings are unpacked beside the manifest."""
    core_language: str = "en"
    """BCP 47 language of the texts between."""
    keys: dict[str, str] = field(default_factory=dict)
    """Field (audio, id, speaker, question_text, core_question, core_answer, answer_text) to the key or column that
    holds it, where that has an unknown name; a dot goes into a value (extra.question)."""
    columns: list[str] = field(default_factory=list)
    """Names of the columns of a table without a header line."""
    delimiter: str = "\t"
    """What separates the columns of a table: one character."""
    quoting: str = "none"
    """Of a table, as for prepare-corpus table: none, csv, auto."""
    test_share: float = 0.0
    """Share of the questions that is kept for tests, in test.jsonl and test_dialogues.jsonl. Drawn by the question in
    the core language, so lists of several languages keep the same ones."""
    seed: int = 0
    """Draws the tests."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share of the lines cannot be used, the command ends with status 2; the others are written."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: an unknown field in keys, a delimiter that is none, an unknown quoting, or a share out of range.
        """
        check_numbers(self, "", test_share=Range(0, below=1))
        for name in self.keys:
            if name not in KNOWN_KEYS:
                raise UserError(f"--keys.{name}: there is no such field; the fields are {', '.join(KNOWN_KEYS)}")
        if self.quoting not in QUOTINGS:
            raise UserError(f"--quoting is one of {', '.join(QUOTINGS)}, not {self.quoting!r}")
        if len(self.delimiter) != 1:
            raise UserError(f"--delimiter is one character, not {self.delimiter!r}")


@dataclass(frozen=True)
class _Line:
    """What stands in one line of the list, or what is wrong with it."""

    number: int
    values: dict[str, Any]
    fault: str | None = None


def prepare_four_texts(output: Path, config: FourTextsConfig) -> None:
    """Write ``manifest.jsonl`` with the spoken questions, and ``chains.jsonl`` with the four texts of each.

    Those that are kept for tests go to ``test.jsonl`` and ``test_dialogues.jsonl`` instead. A line that cannot be used
    is left out of all and listed in ``rejected.jsonl``.

    Raises:
        UserError: no list, no recordings, keys that no line has, an id twice, not one line that can be used, or a share
            of tests that leaves nothing for them, or nothing beside them.
    """
    path, audio = Path(config.list_file), _audio_of(config)
    language, core = language_tag(config.language), language_tag(config.core_language)
    lines = list(_lines(path, config))
    keys = _keys(lines, path, config, language, core)
    listed = [_audio_name(line, keys) for line in lines]
    recordings = open_listed_audio(audio, [name for name in listed if name is not None], output)
    intake, chains, utterances = Intake("lines"), [], []
    for line in lines:
        where = f"{path}, line {line.number}"
        name = str(line.values.get("id") or f"line {line.number}")
        make = functools.partial(_utterance, line, keys, recordings, language, where)
        utterance = intake.take(make, name, str(_audio_name(line, keys) or ""), where)
        if utterance is not None:
            utterances.append(utterance)
            texts = _texts(line, keys, where)
            four = FourTexts(language, texts["question_text"], core, texts["core_question"], texts["core_answer"],
                             language, texts["answer_text"])  # fmt: skip
            chains.append(chain_document(utterance.id, utterance.id, four))
    intake.finish(output, str(path))
    recordings.keep([utterance.audio for utterance in utterances])
    tested = [_is_test(chain["core_question"], config) for chain in chains]
    if config.test_share and len(set(tested)) < 2:
        raise UserError(
            f"{path}: test_share {config.test_share} keeps {sum(tested)} of {len(tested)} questions for tests: both "
            "parts need some; give another --test_share or --seed"
        )
    for is_test, names in ((False, ("chains", "manifest")), (True, ("test_dialogues", "test"))):
        if is_test in tested:
            of_part = [scored_document(one) if is_test else one for one in compress(chains, _which(tested, is_test))]
            write_json_lines(of_part, output / f"{names[0]}.jsonl")
            write_manifest(compress(utterances, _which(tested, is_test)), output / f"{names[1]}.jsonl")


def _which(tested: list[bool], is_test: bool) -> list[bool]:
    return [one == is_test for one in tested]


def _is_test(core_question: str, config: FourTextsConfig) -> bool:
    digest = hashlib.sha256(f"{config.seed} {core_question}".encode()).digest()
    return int.from_bytes(digest[:8], "little") < config.test_share * 2.0**64


def _audio_of(config: FourTextsConfig) -> Path:
    path = Path(config.list_file)
    if not path.is_file():
        raise UserError(f"{path}: no such list; --list_file names the one with the texts")
    stem = path.with_suffix("") if path.suffix != ".gz" else path.with_suffix("").with_suffix("")
    places = (
        [Path(config.audio)]
        if config.audio
        else [stem.with_name(f"{stem.name}{end}") for end in (".tar.gz", ".tar", "")]
    )
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise UserError(
            f"{', '.join(map(str, places))}: no such recordings; --audio names their folder, .tar or .tar.gz"
        )
    return found


def _lines(path: Path, config: FourTextsConfig) -> Iterator[_Line]:
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
    if first.lstrip().startswith("["):
        raise UserError(f"{path}: is one JSON array; write one object a line (JSON Lines)")
    if first.lstrip().startswith("{"):
        yield from _json_lines(path)
        return
    rows = read_rows(path, config.delimiter, config.quoting, config.columns)
    header = config.columns or next(rows, (0, list[str]()))[1]
    for number, cells in rows:
        fault = f"has {len(cells)} columns, the header has {len(header)}" if len(cells) != len(header) else None
        yield _Line(number, dict(zip(header, cells, strict=False)), fault)


def _json_lines(path: Path) -> Iterator[_Line]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                yield _Line(number, {}, f"is not JSON ({error})")
                continue
            fault = None if isinstance(values, dict) else f"is {type(values).__name__}, not a JSON object"
            yield _Line(number, values if fault is None else {}, fault)


def _keys(lines: list[_Line], path: Path, config: FourTextsConfig, language: str, core: str) -> dict[str, str]:
    """The key of each field: the one that is given, or the first known one that a line has."""
    good = [line.values for line in lines if line.fault is None]
    keys = {}
    for name, known in KNOWN_KEYS.items():
        tried = [config.keys[name]] if name in config.keys else [key.format(n=language, c=core) for key in known]
        found = next((key for key in tried if any(cell_of(values, key) is not None for values in good)), None)
        if found is not None:
            keys[name] = found
        elif name not in _OPTIONAL or name in config.keys:
            has = ", ".join(dict.fromkeys(key for values in good[:10] for key in values)) or "none"
            raise UserError(
                f"{path}: no line has {' or '.join(tried)} for {name}; keys there are {has}: give --keys.{name}"
            )
    return keys


def _audio_name(line: _Line, keys: Mapping[str, str]) -> str | None:
    value = cell_of(line.values, keys["audio"])
    return value if isinstance(value, str) and value.strip() else None


def _utterance(line: _Line, keys: Mapping[str, str], recordings: ListedAudio, language: str, where: str) -> Utterance:
    if line.fault is not None:
        raise UserError(f"{where}: {line.fault}")
    values, audio = line.values, _audio_name(line, keys)
    if audio is None:
        raise UserError(f"{where}: names no recording ({keys['audio']})")
    texts = _texts(line, keys, where)
    name = cell_of(values, keys["id"]) if "id" in keys else None
    speaker = cell_of(values, keys["speaker"]) if "speaker" in keys else None
    return Utterance(
        id=f"{language}-{line.number:06d}" if name is None else text_of(name, "id", where),
        audio=recordings.place(audio, where),
        text=texts["question_text"],
        language=language,
        speaker=None if speaker is None else text_of(speaker, "speaker", where),
    )


def _texts(line: _Line, keys: Mapping[str, str], where: str) -> dict[str, str]:
    texts = {name: text_of(cell_of(line.values, keys[name]), keys[name], where) for name in TEXTS}
    for name, text in texts.items():
        if not text:
            raise UserError(f"{where}: its {keys[name]} is empty")
    return texts
