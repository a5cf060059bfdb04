"""Files inside tar shards (``tar://member::/path/shard.tar``), found through an index that is read once a shard.

fsspec's own tar files are indexed anew for every member that is opened.
"""

from __future__ import annotations

import functools
import tarfile

import fsspec

_SHARDS_KNOWN = 16

PREFIX = "tar://"


def tar_member(url: str) -> tuple[int, int]:
    """Where a member begins in its shard, and how long it is, in bytes.

    Raises:
        OSError: the shard cannot be read, or has no such member.
    """
    name, _, shard = url.removeprefix(PREFIX).partition("::")
    size = fsspec.core.url_to_fs(shard)[0].size(shard)
    try:
        members = _members(shard, size)
    except (tarfile.TarError, EOFError) as error:
        raise OSError(f"{shard} cannot be read as tar: {error}") from None
    if name not in members:
        raise FileNotFoundError(f"{shard} has no member {name}")
    return members[name]


@functools.lru_cache(maxsize=_SHARDS_KNOWN)
def _members(shard: str, size: int) -> dict[str, tuple[int, int]]:
    """Where each file of a shard begins, and its length; ``size`` is the shard's, so that another one is read again."""
    with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        return {member.name: (member.offset_data, member.size) for member in archive if member.isfile()}
