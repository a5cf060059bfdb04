"""Text to ids and back, for any fast tokenizer: what is text stays text, whatever it spells."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from cslm.errors import UserError
from cslm.sequences.text_tokenizer import UNKNOWN
from tokenizers import Tokenizer

_CACHED_TEXTS = 8192  # wordings come again and again, and so do the texts of a small world


class FoundTexts(Protocol):
    """Texts that were tokenized before."""

    def find(self, text: str) -> tuple[int, ...] | None:
        """The ids of a text, or None if it is not known."""


# Beginnings of texts, in scripts with spaces and without, on which it is tried whether a tokenizer parts at a space.
_STARTS_OF_TEXTS = (
    "Anna works in the village.", "the end", "a", "I am", "12 apples", "3.5 km", "École", "über", "Мир", "δέκα",
    "no, yes", "我们去", "今天 it rains", "安娜", "こんにちは", "한국어", "สวัสดี", "x1", "don't", "U.S.A.",
)  # fmt: skip


class TextEncoder:
    """Text to ids and back, for any fast tokenizer. Text never becomes a unit, a marker or a control token.

    Text that spells ``<12>``, ``[answer]`` or ``<|end|>`` is cut into ordinary pieces, and reads the same when decoded.

    Raises:
        UserError: the tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path or '(unnamed)'} is not a fast one: give one with a "
                "tokenizer.json"
            )
        self._tokenizer = tokenizer
        self._backend, controls = _text_only(tokenizer.backend_tokenizer, tokenizer.unk_token)
        self._control_ids = frozenset(controls.values())
        surfaces = [re.escape(surface) for surface in sorted(controls, key=len, reverse=True)]
        unknown = re.escape(tokenizer.unk_token or UNKNOWN)
        self._control_surfaces = re.compile("|".join([*surfaces, unknown, "<0x[0-9A-F]{2}>"]))
        self._named_piece = re.compile(f"{unknown}|<0x[0-9A-F]{{2}}>")
        self._known: FoundTexts | None = None
        self._remember()
        self._anchor = self.encode(":")
        self._anchor_length = len(self.decode(self._anchor))

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids that no text becomes."""
        return self._control_ids

    @cached_property
    def identity(self) -> str:
        """Says which text tokenizer this is."""
        return hashlib.sha256(self._backend.to_str().encode("utf-8")).hexdigest()

    def knowing(self, known: FoundTexts) -> TextEncoder:
        """The same encoder, which finds some texts instead of tokenizing them again."""
        encoder = copy.copy(self)
        encoder._known = known
        encoder._remember()
        return encoder

    def encode(self, text: str, after: str = "") -> list[int]:
        """The ids of ``after + text``; no special token is added."""
        if after and self._known is not None and text[:1].isalnum() and self._parts_at_space(after):
            return [*self._encode(after[:-1]), *self._encode(after_space(text))]
        return list(self._encode(after + text))

    def encode_many(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """The ids of each text, tokenized on all cores."""
        for text, found in zip(texts, self._backend.encode_batch(texts, add_special_tokens=False), strict=True):
            yield self._checked(text, found.ids)

    def inside_tokens(self, text: str) -> frozenset[int]:
        """The places of ``text`` (characters) where a cut would go through a token."""
        offsets = self._backend.encode(text, add_special_tokens=False).offsets
        return frozenset(place for start, stop in offsets for place in range(start + 1, stop))

    def _remember(self) -> None:
        self._encode = lru_cache(maxsize=_CACHED_TEXTS)(self._encode_now)
        self._parts_at_space = lru_cache(maxsize=_CACHED_TEXTS)(self._try_at_space)

    def _encode_now(self, text: str) -> tuple[int, ...]:
        found = self._known.find(text) if self._known is not None else None
        if found is not None:
            return found
        return tuple(self._checked(text, self._backend.encode(text, add_special_tokens=False).ids))

    def _checked(self, text: str, ids: list[int]) -> list[int]:
        if self._control_ids.isdisjoint(ids) and not self._named_piece.search(text):
            return ids
        return self._encode_apart(text)

    def _try_at_space(self, before: str) -> bool:
        """Whether this tokenizer makes the same ids of a request and a text apart, cut before their space."""
        if len(before) < 2 or before[-1] != " " or before[-2].isspace():
            return False
        return all(
            [*self._encode(before[:-1]), *self._encode(" " + text)] == list(self._encode(before + text))
            for text in _STARTS_OF_TEXTS
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that start a text."""
        return str(self._backend.decode(list(ids), skip_special_tokens=False))

    def decode_continuation(self, ids: Sequence[int]) -> str:
        """The text of ids that go on after something else: a leading space is kept, where ``decode`` may drop it."""
        return self.decode([*self._anchor, *ids])[self._anchor_length :]

    def surface(self, ids: Sequence[int]) -> str:
        """Ids of a template, of markers or units, as their tokens spell them."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode_apart(self, text: str) -> list[int]:
        # Some tokenizers hold control tokens, and the names of bytes, among their pieces. These are cut before the last
        # character of their surface.
        cuts = [0, *(match.end() - 1 for match in self._control_surfaces.finditer(text)), len(text)]
        ids: list[int] = []
        for start, stop in pairwise(cuts):
            ids.extend(self._backend.encode(text[start:stop], add_special_tokens=False).ids)
        return [token_id for token_id in ids if token_id not in self._control_ids]


def after_space(text: str) -> str:
    """A text as it is tokenized, and looked for among known texts, behind a request whose last space goes with it."""
    return " " + text


def _text_only(backend: Tokenizer, unknown: str | None) -> tuple[Tokenizer, dict[str, int]]:
    """A copy of the backend that reads control tokens as plain text, and the surfaces and ids of these tokens."""
    state = json.loads(backend.to_str())
    controls = {}
    for token in state["added_tokens"]:
        content = token["content"]
        if token["special"] or (content[:1] in "<[" and content[-1:] in ">]" and len(content) > 1):
            token["special"] = True
            if content != unknown:
                controls[content] = int(token["id"])
    state["post_processor"] = state["truncation"] = state["padding"] = None
    copy = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
    copy.encode_special_tokens = True
    return copy, controls
