"""The manifests of a command: given as its first arguments, and known by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from cslm.corpora.manifest import read_manifest
from cslm.errors import UserError
from cslm.files.json_lines import open_bytes


def with_manifests(arguments: list[str]) -> list[str]:
    """``A.jsonl B.jsonl --option value`` as ``--manifests ["A.jsonl", "B.jsonl"] --option value``."""
    count = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    manifests = ["--manifests", json.dumps(arguments[:count])] if count else []
    return [*manifests, *arguments[count:]]


class Corpus(NamedTuple):
    """What manifests hold."""

    digest: str
    """a hash of their bytes"""
    num_utterances: int
    """in all of them"""
    in_documents: bool
    """whether any utterance has a document or a place"""


def corpus_digest(manifests: Sequence[str]) -> Corpus:
    """What the manifests hold; reads and checks every line.

    Raises:
        UserError: a bad line, an id in two manifests, or no utterance at all.
    """
    digest, count, in_documents = hashlib.sha256(), 0, False
    seen: set[str] = set()
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            count += 1
            in_documents = in_documents or utterance.document is not None or utterance.place is not None
            if len(manifests) > 1:
                if utterance.id in seen:
                    raise UserError(
                        f"{manifest}: the id {utterance.id!r} is in an earlier manifest too; make ids unique"
                    )
                seen.add(utterance.id)
        with open_bytes(manifest) as file:
            content = hashlib.sha256()
            while block := file.read(1 << 20):
                content.update(block)
            digest.update(content.digest())
    if count == 0:
        raise UserError(f"{', '.join(manifests) or 'no manifest given'}: there is no utterance")
    return Corpus(f"sha256:{digest.hexdigest()}", count, in_documents)
