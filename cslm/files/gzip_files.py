"""Files that were compressed with gzip, unpacked once per machine so that they can be read at any place."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import shutil
import zlib
from pathlib import Path

from cslm.errors import UserError
from cslm.files.atomic_file import file_aside
from cslm.files.cache_folder import cache_folder


def unpacked_gzip(path: Path) -> Path:
    """A ``*.gz`` file unpacked in the cache folder, by its path, size and time of change; made now if it is not there.

    Raises:
        UserError: it is no gzip file, or cut short.
    """
    facts = path.stat()
    named = hashlib.sha256(f"{path.resolve()}\n{facts.st_size}\n{facts.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    plain = cache_folder("unpacked") / named.hexdigest()[:32]
    if plain.is_file():
        return plain
    plain.parent.mkdir(parents=True, exist_ok=True)
    with plain.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process unpacks, the others wait
        if not plain.is_file():
            try:
                with gzip.open(path, "rb") as packed, file_aside(plain) as aside, aside.open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise UserError(f"{path}: cannot be unpacked ({error}): copy or download it again") from None
    return plain
