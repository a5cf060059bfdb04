"""Spoken instructions: English pairs, cleaned for speech, translated, spoken by many voices, kept where they are heard.

The data pipeline of XS-CoT: what comes out are questions that are spoken in language n, each with four texts (the
question in n, the question and the answer in the core language, the answer in n), as chains through a core language
read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cslm.configuration import to_plain
from cslm.corpora.chain_documents import scored_document
from cslm.corpora.instruction_pairs import InstructionPair, origin_of_pairs, read_instruction_pairs
from cslm.corpora.intake import REJECTED
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.files.progress import progress_bar
from cslm.synthesis.cleaning import Cleaner, Refused
from cslm.synthesis.instruction_blocks import BlockMaker, Makers, rejected_row
from cslm.synthesis.instruction_report import instruction_counts, made_by, told_counts
from cslm.synthesis.instructions_config import SpokenInstructionsConfig
from cslm.synthesis.listeners import open_listener
from cslm.synthesis.made_records import MadeRecords, Row
from cslm.synthesis.recordings import Recordings, remove_others
from cslm.synthesis.synthesizers import open_synthesizer
from cslm.synthesis.translators import open_translator
from cslm.synthesis.written_stories import CARD, write_card

_MADE = ".made"
_BLOCK = 64
"""Pairs that are translated, spoken and heard together. Part of what decides the bytes: models work in batches."""
_FILES = {"utterance": ("manifest", "test"), "chain": ("chains", "test_dialogues"), "heard": ("heard", "heard")}
"""Kind of outcome to the file that it goes to, in training and in the test."""


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
    records = MadeRecords(output / _MADE)
    if not (output / CARD).is_file():  # written last
        makers, origin = _open(config, output, records), origin_of_pairs(config.pairs)
        languages = [BlockMaker(config, makers, language_tag(language)) for language in config.languages]
        pairs, rejected = _clean_pairs(config, origin, records)
        rows = _made(languages, pairs, rejected, _tested(config, pairs))
        facts = {"pairs": origin, **{maker.language: maker.facts for maker in languages}}
        _write(output, config, facts, pairs, rejected, rows)
    records.remove()
    for left_over in output.rglob(".*.tmp"):
        left_over.unlink()


def _open(config: SpokenInstructionsConfig, output: Path, records: MadeRecords) -> Makers:
    listened = any(section is not None for section in vars(config.listener).values())
    if not listened:
        print("no listener: every recording is kept, whatever is heard in it", flush=True)
    listener = open_listener(config.listener) if listened else None
    translator, synthesizer = open_translator(config.translator), open_synthesizer(config.synthesizer)
    return Makers(translator, synthesizer, Recordings(output, synthesizer, config.recordings), listener, records)


def _clean_pairs(
    config: SpokenInstructionsConfig, origin: dict[str, Any], records: MadeRecords
) -> tuple[list[InstructionPair], list[Row]]:
    """The pairs that can be spoken, and the list of the others; read and cleaned once."""
    source = replace(config.pairs, revision=origin.get("revision", config.pairs.revision))
    decided_by = {"what": "pairs", "origin": origin, "pairs": to_plain(source) | {"dataset": origin["dataset"]}}
    decided_by |= {"cleaning": to_plain(config.cleaning), "language": config.core_language, "most": config.max_pairs}

    def make() -> Iterator[Row]:
        cleaner, count = Cleaner(config.cleaning, config.core_language), 0
        for found in progress_bar(read_instruction_pairs(source), None, "cleaning pairs"):
            cleaned = cleaner.clean(found) if isinstance(found, InstructionPair) else found
            if isinstance(cleaned, InstructionPair):
                yield {"pair": asdict(cleaned)}
                count += 1
            else:
                kind = cleaned.rule if isinstance(cleaned, Refused) else "row"
                yield {"rejected": rejected_row(found.id, kind, cleaned.reason)}
            if count == config.max_pairs:
                print(f"{count} pairs can be spoken: rows behind {found.id} are not read (max_pairs)", flush=True)
                return

    rows = records.rows(decided_by, make)
    pairs = [InstructionPair(**row["pair"]) for row in rows if "pair" in row]
    return pairs, [row["rejected"] for row in rows if "rejected" in row]


def _tested(config: SpokenInstructionsConfig, pairs: Sequence[InstructionPair]) -> set[str]:
    """The pairs for tests."""
    if config.num_test and config.num_test >= len(pairs):
        raise UserError(f"num_test is {config.num_test}, but {len(pairs)} pairs can be spoken: leave some for training")
    order = np.random.default_rng([config.seed, 1]).permutation(len(pairs))
    return {pairs[index].id for index in order[: config.num_test]}


def _made(
    languages: Sequence[BlockMaker], pairs: Sequence[InstructionPair], rejected: list[Row], tested: set[str]
) -> dict[str, list[Row]]:
    """The rows of each file, language by language; what is left out is added to ``rejected``."""
    rows: dict[str, list[Row]] = {name: [] for names in _FILES.values() for name in names}
    blocks = [(maker, start) for maker in languages for start in range(0, len(pairs), _BLOCK)]
    for maker, start in progress_bar(blocks, len(blocks), f"blocks of {_BLOCK} pairs"):
        for kind, pair, row in maker.make(pairs[start : start + _BLOCK]):
            if kind == "rejected":
                rejected.append(row)
            else:
                kept = {key: value for key, value in row.items() if value is not None}
                is_test = pair in tested
                rows[_FILES[kind][is_test]].append(scored_document(kept) if kind == "chain" and is_test else kept)
    return rows


def _write(
    output: Path,
    config: SpokenInstructionsConfig,
    facts: dict[str, Any],
    pairs: Sequence[InstructionPair],
    rejected: Sequence[Row],
    rows: dict[str, list[Row]],
) -> None:
    """Write the files, the card last, and remove recordings that are in none of them."""
    num_read = len(pairs) + sum(row["id"].isdecimal() for row in rejected)
    counts = instruction_counts(num_read, len(pairs), rejected, rows)
    print(told_counts(counts), flush=True)
    if not rows["manifest"]:
        first = f"; the first: {rejected[0]['reason']}" if rejected else ""
        raise UserError(f"{config.pairs.dataset}: not one of {num_read} rows became a spoken chain{first}")
    for name, of_file in rows.items():
        if of_file:
            write_json_lines(of_file, output / f"{name}.jsonl")
    write_json_lines(rejected, output / REJECTED)
    remove_others(output, {row["audio"] for name in _FILES["utterance"] for row in rows[name]})
    write_card({"corpus": "spoken_instructions", "made_by": made_by(facts), "counts": counts, "facts": facts}, output)
