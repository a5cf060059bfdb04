"""Cards of speech tokenizers: a YAML file with the facts, and beside it a safetensors file with the tensors.

A card is found by path (the file, or a folder that holds ``card.yaml``) or by name: ``tokenizers/NAME.yaml`` of a
checkout, ``share/cslm/tokenizers/NAME.yaml`` of an installed wheel.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cslm.codecs.codec import UnitCodec
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.files.shipped_files import shipped_folders

Codec = TypeVar("Codec", bound=UnitCodec)


@dataclass(frozen=True)
class Weights:
    """Where the weights of a neural tokenizer are; the fingerprint holds what they are."""

    source: str
    """A hub id, a name that the family's package knows, or a file or folder (in a card: from the card's place on)."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""


@dataclass(frozen=True)
class Card:
    """The facts about one speech tokenizer."""

    name: str
    """Name for people; also how a shipped card is found."""
    family: str
    """Key of ``cslm.codecs.families.FAMILIES``."""
    sample_rate_hz: int
    """Rate of the waveforms that it takes."""
    frame_rate_hz: float
    """Rows of units a second, before merging repeats."""
    codebook_sizes: tuple[int, ...]
    """Number of units in each codebook."""
    parameters: dict[str, Any]
    """What else the family needs to know; decides the units, so it is in the fingerprint."""
    weights: Weights | None = None
    """Where the weights are that do not travel with the card."""
    artefact: str | None = None
    """File with the tensors (safetensors), relative to the card."""
    fingerprint: str | None = None
    """Fingerprint of tensors and parameters; checked whenever the codec is opened."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where it comes from: what it was fitted on, or the hub id, revision and licence. Not in the fingerprint."""
    path: Path | None = None
    """Where the card was read; not written."""


def load_card(path_or_name: str | os.PathLike[str]) -> Card:
    """Read a card by path or by name.

    Raises:
        UserError: no such card, or a file that is not a card.
    """
    path = find_card(path_or_name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a card: {' '.join(str(error).split())}") from None
    return _card_from(values, path)


def find_card(path_or_name: str | os.PathLike[str]) -> Path:
    """The file of a card given by path or by name.

    Raises:
        UserError: there is none; says which names are known.
    """
    given = str(path_or_name)
    path = Path(given)
    path = path / "card.yaml" if path.is_dir() else path
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or os.sep in given:
        raise UserError(
            f"there is no speech-tokenizer card {path}: fit one with tools/fit_tokenizer.py, or mend the path"
        )
    for folder in shipped_folders("tokenizers"):
        if (folder / f"{given}.yaml").is_file():
            return folder / f"{given}.yaml"
    known = sorted(file.stem for folder in shipped_folders("tokenizers") for file in folder.glob("*.yaml"))
    raise UserError(f"no speech-tokenizer card is called {given!r}; known: {', '.join(known) or 'none, give a path'}")


def save_card(card: Card, path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]] | None = None) -> Card:
    """Write a card, and its tensors, if any, beside it with the suffix ``.safetensors``; returns what was written."""
    path = Path(path)
    artefact = f"{path.stem}.safetensors" if tensors else None
    card = dataclasses.replace(card, artefact=artefact, path=path)
    if artefact is not None and tensors:
        ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
        write_atomically(path.with_name(artefact), save(ordered))
    values = {key: value for key, value in dataclasses.asdict(card).items() if key != "path" and value is not None}
    if card.weights is not None:
        values["weights"] = {key: value for key, value in values["weights"].items() if value is not None}
    values["codebook_sizes"] = list(card.codebook_sizes)
    write_atomically(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode("utf-8"))
    return card


def card_tensors(card: Card) -> dict[str, NDArray[Any]]:
    """The tensors of a card.

    Raises:
        UserError: the file is missing or not safetensors.
    """
    if card.artefact is None or card.path is None:
        centroids = card.origin.get("centroids")
        hint = f": download {centroids} and run cslm convert-kmeans" if centroids else " (key artefact)"
        raise UserError(f"the card {card.path or card.name} names no file with tensors{hint}")
    file = card.path.parent / card.artefact
    try:
        return load_file(file)
    except (FileNotFoundError, SafetensorError) as error:
        raise UserError(f"{file}, named by the card {card.path}, cannot be read: {error}") from None


def copy_card(path_or_name: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Copy a card and its tensors to ``folder/card.yaml``, so that a checkpoint stands on its own.

    Weights that lie beside the card stay there; the copy names their place.
    """
    card, target = load_card(path_or_name), Path(folder) / "card.yaml"
    if card.artefact is not None:
        return cast(Path, save_card(card, target, card_tensors(card)).path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(cast(Path, card.path), target)
    return target if load_card(target).weights == card.weights else cast(Path, save_card(card, target).path)


def checked(codec: Codec, card: Card) -> Codec:
    """A codec that has the rates and codebooks that its card says.

    Raises:
        UserError: it has others.
    """
    said = (card.sample_rate_hz, card.frame_rate_hz, card.codebook_sizes)
    found = (codec.sample_rate_hz, codec.frame_rate_hz, codec.codebook_sizes)
    if said != found:
        raise UserError(f"{card.path} says {said} (samples, frames a second, codebooks), its weights have {found}")
    return codec


def _card_from(values: Any, path: Path) -> Card:
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a card: expected keys and values, found {type(values).__name__}")
    fields = {f.name: f for f in dataclasses.fields(Card) if f.name != "path"}
    unknown = sorted(set(map(str, values)) - set(fields))
    required = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    missing = [name for name in required if name not in values]
    if unknown or missing:
        raise UserError(f"{path} is not a card: " + (f"unknown key {unknown[0]}" if unknown else f"no {missing[0]}"))
    try:
        sizes = tuple(int(size) for size in values["codebook_sizes"])
        rates = {"sample_rate_hz": int(values["sample_rate_hz"]), "frame_rate_hz": float(values["frame_rate_hz"])}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: bad number in codebook_sizes or a rate: {error}") from None
    if not isinstance(values["parameters"], dict):
        raise UserError(f"{path}: parameters must be keys and values")
    weights = _weights_from(values.get("weights"), path)
    return Card(**{**values, **rates, "codebook_sizes": sizes, "weights": weights, "path": path})


def _weights_from(values: Any, path: Path) -> Weights | None:
    if values is None:
        return None
    known = {f.name for f in dataclasses.fields(Weights)}
    if not isinstance(values, dict) or "source" not in values or set(values) - known:
        raise UserError(f"{path}: weights must be {{source: HUB_ID or folder, revision: ...}}, is {values!r}")
    beside = path.parent / str(values["source"])
    return Weights(**{**values, "source": str(beside.resolve()) if beside.exists() else str(values["source"])})
