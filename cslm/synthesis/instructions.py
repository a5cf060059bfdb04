"""Spoken instructions: English pairs, cleaned for speech, translated, spoken by many voices, kept where they are heard.

The data pipeline of XS-CoT: what comes out are questions that are spoken in language n, each with four texts (the
question in n, the question and the answer in the core language, the answer in n), as chains through a core language
read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cslm.corpora.instruction_pairs import InstructionPair, origin_of_pairs, read_instruction_pairs
from cslm.corpora.intake import REJECTED, printable
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.files.atomic_file import remove_folder, write_atomically
from cslm.files.json_lines import read_json_lines, write_json_lines
from cslm.files.progress import progress_bar
from cslm.synthesis.cleaning import Cleaner, Refused
from cslm.synthesis.instruction_blocks import BlockMaker, Makers, Record
from cslm.synthesis.instruction_report import instruction_counts, made_by, told_counts
from cslm.synthesis.instructions_config import SpokenInstructionsConfig
from cslm.synthesis.listeners import open_listener
from cslm.synthesis.other_language import OtherLanguage
from cslm.synthesis.synthesizers import open_synthesizer
from cslm.synthesis.translators import open_translator

CARD = "card.json"
_WORK = ".work"
_FACTS, _PAIRS, _LEFT_OUT = "facts.json", "pairs.jsonl", "left_out.jsonl"
_BLOCK = 64
"""Pairs that are translated, spoken and heard together. Part of what decides the bytes: models hear in batches."""
_TEST = "test"


def prepare_spoken_instructions(output: Path, config: SpokenInstructionsConfig) -> None:
    """Write the corpus into the folder ``output``; an interrupted run in it goes on.

    ``manifest.jsonl`` holds the recordings, ``chains.jsonl`` the four texts of each question; ``test.jsonl`` and
    ``test_dialogues.jsonl`` those of the pairs for tests; ``heard.jsonl`` what the listener heard in each recording;
    ``rejected.jsonl`` each pair and each recording that was left out, with its kind and reason; ``card.json`` how it
    was made.

    Raises:
        UserError: no such pairs, a language that nothing translates, speaks or hears, or nothing that could be kept.
        MissingExtraError: a package that is needed is not installed.
    """
    work = output / _WORK
    if not (output / CARD).is_file():
        makers, origin = _open(config), origin_of_pairs(config.pairs)
        blocks = [BlockMaker(config, makers, language_tag(language), output) for language in config.languages]
        facts = {"pairs": origin, **{maker.language: maker.facts for maker in blocks}}
        _start(work, facts)
        cleaner = Cleaner(config.cleaning, config.core_language, makers.other)
        pairs = _clean_pairs(work, config, origin, cleaner)
        for maker in blocks:
            _make_blocks(maker, pairs, work / maker.language)
        _assemble(output, config, facts, pairs)
    remove_folder(work)
    for left_over in output.rglob(".*.tmp"):
        left_over.unlink()


def _open(config: SpokenInstructionsConfig) -> Makers:
    listened = any(section is not None for section in vars(config.listener).values())
    if not listened:
        print("no listener: every recording is kept, whatever is heard in it", flush=True)
    listener = open_listener(config.listener) if listened else None
    other = None
    if config.language_identifier is not None:
        languages = [config.core_language, *config.languages]
        other = OtherLanguage(config.language_identifier, languages, "language_identifier")
    return Makers(open_translator(config.translator), open_synthesizer(config.synthesizer), listener, other)


def _start(work: Path, facts: Mapping[str, Any]) -> None:
    """Go on in ``work`` where the same makers began there; else begin anew."""
    content = (json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode("utf-8")
    path = work / _FACTS
    if path.is_file() and path.read_bytes() != content:
        print("the pairs or the models have changed since this was begun: it begins again", flush=True)
        remove_folder(work)
    write_atomically(path, content)


def _clean_pairs(
    work: Path, config: SpokenInstructionsConfig, origin: Mapping[str, Any], cleaner: Cleaner
) -> list[InstructionPair]:
    """The pairs that can be spoken, read and cleaned once; the others are listed in the work folder."""
    if not (work / _PAIRS).is_file():
        good: list[Record] = []
        left_out: list[Record] = []
        source = replace(config.pairs, revision=origin.get("revision", config.pairs.revision))
        for found in progress_bar(read_instruction_pairs(source), None, "cleaning pairs"):
            cleaned = cleaner.clean(found) if isinstance(found, InstructionPair) else found
            if isinstance(cleaned, InstructionPair):
                good.append(asdict(cleaned))
            else:
                kind = cleaned.rule if isinstance(cleaned, Refused) else "row"
                left_out.append({"id": found.id, "audio": "", "reason": printable(cleaned.reason), "kind": kind})
            if len(good) == config.max_pairs:
                print(f"{len(good)} pairs can be spoken: rows behind {found.id} are not read (max_pairs)", flush=True)
                break
        write_json_lines(left_out, work / _LEFT_OUT)
        write_json_lines(good, work / _PAIRS)
    return [InstructionPair(**row) for _, row in read_json_lines(work / _PAIRS)]


def _make_blocks(maker: BlockMaker, pairs: Sequence[InstructionPair], folder: Path) -> None:
    starts = range(0, len(pairs), _BLOCK)
    for number, start in enumerate(progress_bar(starts, len(starts), f"{maker.language}, blocks of {_BLOCK} pairs")):
        path = _block(folder, number)
        if not path.is_file():
            write_json_lines(list(maker.make(pairs[start : start + _BLOCK])), path)


def _block(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.jsonl"


def _assemble(
    output: Path, config: SpokenInstructionsConfig, facts: Mapping[str, Any], pairs: Sequence[InstructionPair]
) -> None:
    """Put the blocks together; the card comes last."""
    work, languages = output / _WORK, [language for language in facts if language != "pairs"]
    tested = _tested(config, pairs)
    rejected = [row for _, row in read_json_lines(work / _LEFT_OUT)]
    num_read = len(rejected) + len(pairs)
    rows: dict[str, list[Record]] = {name: [] for name in ("manifest", "chains", _TEST, "test_dialogues", "heard")}
    for kind, pair, row in _outcomes(work, languages, len(pairs)):
        if kind == "rejected":
            rejected.append(row)
        elif kind == "heard":
            rows["heard"].append(row)
        elif kind == "utterance":
            kept = {key: value for key, value in row.items() if value is not None}
            rows[_TEST if pair in tested else "manifest"].append(kept)
        else:
            rows["test_dialogues" if pair in tested else "chains"].append(_test(row) if pair in tested else row)
    counts = instruction_counts(num_read, len(pairs), rejected, rows)
    print(told_counts(counts), flush=True)
    if not rows["manifest"]:
        first = f"; the first: {rejected[0]['reason']}" if rejected else ""
        raise UserError(f"{config.pairs.dataset}: not one of {num_read} rows became a spoken chain{first}")
    for name, of_file in rows.items():
        if of_file:
            write_json_lines(of_file, output / f"{name}.jsonl")
    write_json_lines(rejected, output / REJECTED)
    card = {"corpus": "spoken_instructions", "made_by": made_by(facts), "counts": counts, "facts": facts}
    write_atomically(output / CARD, (json.dumps(card, ensure_ascii=False, indent=1) + "\n").encode("utf-8"))


def _tested(config: SpokenInstructionsConfig, pairs: Sequence[InstructionPair]) -> set[str]:
    if config.num_test and config.num_test >= len(pairs):
        raise UserError(f"num_test is {config.num_test}, but {len(pairs)} pairs can be spoken: leave some for training")
    order = np.random.default_rng([config.seed, 1]).permutation(len(pairs))
    return {pairs[index].id for index in order[: config.num_test]}


def _outcomes(work: Path, languages: Sequence[str], num_pairs: int) -> Iterator[tuple[str, str, Record]]:
    """Kind, pair and record of each outcome, language by language."""
    for language in languages:
        for number in range(-(-num_pairs // _BLOCK)):
            for _, outcome in read_json_lines(_block(work / language, number)):
                pair = outcome.pop("pair")
                ((kind, row),) = outcome.items()
                yield kind, pair, row


def _test(chain: Record) -> Record:
    """A question of a test, with what scores compare a reply with."""
    return {
        "id": chain["id"],
        "direction": f"{chain['question_language']}-{chain['answer_language']}",
        **{key: value for key, value in chain.items() if key != "id"},
        "question_reference": chain["question_text"],
        "answer_reference": chain["answer_text"],
    }
