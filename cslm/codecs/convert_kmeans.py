"""``convert-kmeans``: k-means files as others publish them, once, into the tensors of a card.

Reads ``.npy`` and ``.safetensors`` (an array of centroids), and, only when told to, pickles: scikit-learn's estimators
as joblib writes them (``km.bin`` of GSLM and TWIST). A pickle runs what its author put into it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from cslm.codecs.card import Card, card_tensors, load_card, save_card
from cslm.codecs.families import load_codec
from cslm.codecs.ssl_kmeans import SslKMeans
from cslm.configuration import parse_configuration
from cslm.errors import UserError


@dataclass
class ConvertKmeansConfig:
    """Put published centroids beside a card: ``convert-kmeans FILE --tokenizer CARD --output MY_CARD.yaml``."""

    file: str
    """``.npy``, ``.safetensors``, or a pickled scikit-learn estimator (``.bin``, ``.joblib``, ``.pkl``, ``.pt``)."""
    tokenizer: str
    """Card that the centroids belong to: a path, or the name of a shipped one."""
    output: str
    """The card to write (YAML); the centroids go beside it."""
    allow_pickle: bool = False
    """Open pickles. A pickle runs code of whoever made it: only for files from a source that you trust."""


def convert_kmeans(config: ConvertKmeansConfig) -> Card:
    """Write the card with the centroids and the fingerprint; loads the model's weights for it.

    Raises:
        UserError: a file that holds no centroids, of another shape than the card says, a pickle that is not allowed, or
            weights that cannot be loaded.
    """
    card = load_card(config.tokenizer)
    digest = _checked_digest(Path(config.file), card)
    centroids = read_centroids(Path(config.file), config.allow_pickle)
    if len(centroids) != card.codebook_sizes[0]:
        raise UserError(
            f"{config.file} holds {len(centroids)} centroids, {card.name} has {card.codebook_sizes[0]} units"
        )
    output = Path(config.output)
    if output.exists():
        written = load_card(output)
        if np.array_equal(card_tensors(written).get("centroids", np.zeros(0)), centroids):
            print(f"{output} already holds these centroids")
            return written
        raise UserError(f"{output} exists and holds other centroids: remove it or name another")
    origin = {**card.origin, "converted_from": {"file": Path(config.file).name, "sha256": digest}}
    save_card(dataclasses.replace(card, fingerprint=None), output, {"centroids": centroids})
    try:
        codec = cast(SslKMeans, load_codec(output))
    except UserError:
        output.unlink()
        output.with_suffix(".safetensors").unlink()
        raise
    written = save_card(codec.card(origin), output, codec.tensors)
    print(f"{output}: {len(centroids)} units, {written.fingerprint}")
    return written


def read_centroids(file: Path, allow_pickle: bool = False) -> NDArray[np.float32]:
    """Centroids (K, dims) of a file.

    Raises:
        UserError: no such file, no centroids in it, or a pickle that is not allowed.
    """
    try:
        found = _read(file, allow_pickle)
    except (OSError, SafetensorError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file} cannot be read as centroids: {error}") from None
    centroids = np.asarray(found)
    if centroids.ndim != 2 or not np.issubdtype(centroids.dtype, np.floating) or not np.isfinite(centroids).all():
        raise UserError(f"{file} holds {centroids.dtype} of shape {centroids.shape}: centroids are numbers (K, dims)")
    return np.ascontiguousarray(centroids, dtype=np.float32)


def _checked_digest(file: Path, card: Card) -> str:
    """Hash of the file, before it is opened: a card that knows its centroids' hash takes no others."""
    if not file.is_file():
        raise UserError(f"{file}: no such file with centroids")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    wanted = card.origin.get("centroids_sha256", digest)
    if digest != wanted:
        where = card.origin.get("centroids", "where the card says")
        raise UserError(f"{file} is not the file of the card {card.name} (sha256 {digest}): download {where}")
    return digest


def _read(file: Path, allow_pickle: bool) -> Any:
    if file.suffix == ".npy":
        return np.load(file, allow_pickle=False)
    if file.suffix == ".safetensors":
        tensors = load_file(file)
        if "centroids" not in tensors and len(tensors) != 1:
            raise UserError(f"{file} holds {', '.join(sorted(tensors)) or 'nothing'}: one tensor, centroids, is wanted")
        return tensors.get("centroids", next(iter(tensors.values())))
    if not allow_pickle:
        raise UserError(
            f"{file} is a pickle, which runs code of whoever made it when it is opened: if you trust its source, add "
            "--allow_pickle true"
        )
    import joblib  # comes with scikit-learn, whose estimators these files hold

    estimator = joblib.load(file)
    found = getattr(estimator, "cluster_centers_", None)
    if found is None:
        raise UserError(f"{file} holds {type(estimator).__name__}, which has no cluster_centers_")
    return found


def main(arguments: list[str]) -> None:
    """Command line: the file, then options."""
    convert_kmeans(parse_configuration(ConvertKmeansConfig, arguments, "convert-kmeans", positionals=("file",)))
