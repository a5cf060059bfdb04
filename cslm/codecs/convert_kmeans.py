"""``convert-kmeans``: k-means files as others publish them, once, into the tensors of a card.

Reads ``.npy``, ``.npz``, ``.safetensors`` and torch's ``.pt`` (an array of centroids, opened as data), and, only when
told to, pickles: scikit-learn's estimators as joblib writes them (``km.bin`` of GSLM and TWIST). A pickle runs what its
author put into it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import zipfile
import zlib
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

_ZIP = b"PK\3\4"
_BAD_FILE = (
    *(OSError, EOFError, ValueError, RuntimeError, SafetensorError, zipfile.BadZipFile, zlib.error),
    # what a pickle raises whose classes are no longer what they were
    *(pickle.UnpicklingError, AttributeError, ImportError, LookupError, ArithmeticError, TypeError, AssertionError),
)


@dataclass
class ConvertKmeansConfig:
    """Put published centroids beside a card: ``convert-kmeans FILE --tokenizer CARD --output MY_CARD.yaml``."""

    file: str
    """``.npy``, ``.npz``, ``.safetensors``, ``.pt`` of torch, or a pickled estimator of scikit-learn (``.bin``)."""
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
        centroids = np.asarray(_read(file, allow_pickle))
    except UserError:
        raise
    except _BAD_FILE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file} cannot be read as centroids: {reason[:300]}") from None
    if centroids.ndim != 2 or not np.issubdtype(centroids.dtype, np.floating):
        raise UserError(f"{file} holds {centroids.dtype} of shape {centroids.shape}: centroids are numbers (K, dims)")
    bad = int((~np.isfinite(centroids)).any(axis=1).sum())
    if bad:
        raise UserError(f"{file}: {bad} of {len(centroids)} rows hold NaN or infinity: centroids are numbers (K, dims)")
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
    with file.open("rb") as content:
        head = content.read(256)
    if not head:
        raise UserError(f"{file} is empty (0 bytes): download it again")
    if head.lstrip()[:1] == b"<" or head.startswith(b"version https://git-lfs"):
        kind = "a web page" if head.lstrip()[:1] == b"<" else "a pointer of Git LFS"
        raise UserError(f"{file} is {kind}, not the centroids: download the file itself")
    if file.suffix == ".npy":
        return np.load(file, allow_pickle=False)
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            return _only(file, {name: arrays[name] for name in arrays.files})
    if file.suffix == ".safetensors":
        return _only(file, load_file(file))
    if file.suffix in (".pt", ".pth") or head.startswith(_ZIP):
        found = _tensors(file)
        if found is not None:
            return found
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


def _only(file: Path, arrays: dict[str, Any]) -> Any:
    """The array of this name, or the only one."""
    if "centroids" not in arrays and len(arrays) != 1:
        raise UserError(f"{file} holds {', '.join(sorted(arrays)) or 'nothing'}: one tensor, centroids, is wanted")
    return arrays.get("centroids", next(iter(arrays.values())))


def _tensors(file: Path) -> Any:
    """The tensor of a file of torch, opened as data; None where it holds other things too."""
    import torch  # here: arrays need none

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, AttributeError, KeyError, TypeError):
        return None
    if isinstance(found, dict):
        found = _only(file, {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)})
    return found.float().numpy() if isinstance(found, torch.Tensor) and found.is_floating_point() else found


def main(arguments: list[str]) -> None:
    """Command line: the file, then options."""
    convert_kmeans(parse_configuration(ConvertKmeansConfig, arguments, "convert-kmeans", positionals=("file",)))
