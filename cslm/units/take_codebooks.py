"""``take-codebooks``: the first codebooks of a store that holds more, as a store and a card of their own.

With one codebook left, repeats are merged. Nothing is encoded again: the first codebooks do not depend on later ones.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.codecs.card import load_card, save_card
from cslm.codecs.families import load_codec
from cslm.codecs.fingerprint import check_fingerprint
from cslm.codecs.units import Units, merge_repeats
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.files.atomic_file import folder_aside
from cslm.files.progress import progress_bar
from cslm.units.store import StoreRow, UnitStore, write_store

CARD = "card.yaml"


@dataclass
class TakeCodebooksConfig:
    """The first codebooks of a store: ``take-codebooks STORE --tokenizer CARD --num_codebooks 1 --output FOLDER``."""

    store: str
    """Folder of the store with more codebooks."""
    tokenizer: str
    """Card that made it."""
    output: str
    """Folder for the new card (``card.yaml``) and the new store (``units``)."""
    num_codebooks: int = 1
    """How many to take, from the first on."""


def take_codebooks(config: TakeCodebooksConfig) -> UnitStore:
    """Write the card and the store.

    Raises:
        UserError: a card that did not make the store, or that has no more codebooks than are asked for.
    """
    card, store = load_card(config.tokenizer), UnitStore.open(config.store)
    check_fingerprint(store.fingerprint, load_codec(config.tokenizer).fingerprint, config.store, config.tokenizer)
    if "num_codebooks" not in card.parameters or not 1 <= config.num_codebooks < len(card.codebook_sizes):
        count = len(card.codebook_sizes)
        raise UserError(f"{config.tokenizer} has {count} codebooks: {config.num_codebooks} cannot be taken")
    output = Path(config.output)
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty: remove it or name another folder")
    fewer = dataclasses.replace(
        card,
        name=f"{card.name}-{config.num_codebooks}",
        codebook_sizes=card.codebook_sizes[: config.num_codebooks],
        parameters={**card.parameters, "num_codebooks": config.num_codebooks},
        fingerprint=None,
    )
    with folder_aside(output) as aside:
        save_card(fewer, aside / CARD)
        codec = load_codec(aside / CARD)
        save_card(dataclasses.replace(fewer, fingerprint=codec.fingerprint), aside / CARD)
        write_store(
            aside / "units",
            _rows(store, config.num_codebooks),
            fingerprint=codec.fingerprint,
            card=codec.name,
            codebook_sizes=codec.codebook_sizes,
            frame_rate_hz=codec.frame_rate_hz,
            in_documents=store.header.in_documents,
        )
    made = UnitStore.open(output / "units")
    print(f"{output}: {len(made)} utterances with {config.num_codebooks} codebook(s)", file=sys.stderr)
    return made


def _rows(store: UnitStore, num_codebooks: int) -> Iterator[StoreRow]:
    for row in progress_bar(store, len(store), "taking codebooks"):
        units = Units(row.units.ids[:, :num_codebooks])
        yield dataclasses.replace(row, units=merge_repeats(units) if num_codebooks == 1 else units)


def main(arguments: list[str]) -> None:
    """Command line: the store, then options."""
    take_codebooks(parse_configuration(TakeCodebooksConfig, arguments, "take-codebooks", positionals=("store",)))
