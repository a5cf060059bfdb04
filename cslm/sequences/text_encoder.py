"""Text to ids and back, for any fast tokenizer: what is text stays text, whatever it spells."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple, Protocol

from transformers import PreTrainedTokenizerBase

from cslm.errors import UserError
from cslm.sequences.text_tokenizer import UNKNOWN
from tokenizers import AddedToken, Tokenizer

_CACHED_TEXTS = 8192  # wordings come again and again, and so do the texts of a small world


class FoundTexts(Protocol):
    """Texts that were tokenized before."""

    def find(self, text: str) -> tuple[int, ...] | None:
        """The ids of a text, or None if it is not known."""


# Beginnings of texts, in scripts with spaces and without, on which it is tried whether a tokenizer parts at a place.
_STARTS_OF_TEXTS = (
    "Anna works in the village.", "the end", "a", "I am", "12 apples", "3.5 km", "École", "über", "Мир", "δέκα",
    "no, yes", "我们去", "今天 it rains", "安娜", "こんにちは", "한국어", "สวัสดี", "x1", "don't", "U.S.A.",
)  # fmt: skip
_SOME_TOKEN = "\ue0f0token\ue0f1"  # an added token that no tokenizer has: what follows one is tokenized behind it
_ANCHORS = (":", ".", "\n", "a")


class _Tokens(NamedTuple):
    """Ids of a text, and where in it each of them ends (characters)."""

    ids: tuple[int, ...]
    stops: tuple[int, ...]


class TextEncoder:
    """Text to ids and back, for any fast tokenizer. Text never becomes a unit, a marker or a control token.

    Text that spells ``<12>``, ``[answer]`` or ``<|end|>`` is cut into ordinary pieces, and reads the same when decoded.
    Only the control tokens ``written``, which somebody asked for by name, are written as tokens.

    Raises:
        UserError: the tokenizer is not a fast one, or has no control token of a name in ``written``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, written: Sequence[str] = ()) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path or '(unnamed)'} is not a fast one: give one with a "
                "tokenizer.json"
            )
        self._tokenizer = tokenizer
        self._backend, self._controls = _text_only(tokenizer.backend_tokenizer, tokenizer.unk_token, written)
        self._control_ids = frozenset(self._controls.values())
        surfaces = [re.escape(surface) for surface in sorted(self._controls, key=len, reverse=True)]
        unknown = re.escape(tokenizer.unk_token or UNKNOWN)
        some = re.escape(_SOME_TOKEN)
        self._control_surfaces = re.compile("|".join([*surfaces, unknown, some, "<0x[0-9A-F]{2}>"]))
        self._named_piece = re.compile(f"{unknown}|{some}|<0x[0-9A-F]{{2}}>")
        self._known: FoundTexts | None = None
        self._remember()
        self._anchor = self.encode(":")
        self._anchor_length = len(self.decode(self._anchor))

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids that no text becomes."""
        return self._control_ids

    @property
    def controls(self) -> dict[str, int]:
        """Surfaces and ids of the tokens that no text becomes."""
        return dict(self._controls)

    @cached_property
    def identity(self) -> str:
        """Says which text tokenizer this is."""
        return hashlib.sha256(self._backend.to_str().encode("utf-8")).hexdigest()

    @cached_property
    def _behind_token(self) -> Tokenizer:
        """The backend with one more token, behind which a text is tokenized as behind any token of a template."""
        backend = Tokenizer.from_str(self._backend.to_str())
        backend.add_tokens([AddedToken(_SOME_TOKEN, normalized=False)])
        backend.encode_special_tokens = True
        return backend

    def knowing(self, known: FoundTexts) -> TextEncoder:
        """The same encoder, which finds some texts instead of tokenizing them again."""
        encoder = copy.copy(self)
        encoder._known = known
        encoder._remember()
        return encoder

    def writing(self, control_tokens: Sequence[str]) -> TextEncoder:
        """The same encoder, whose texts write these control tokens where they spell them."""
        return TextEncoder(self._tokenizer, control_tokens)

    def encode(self, text: str, after: str = "") -> list[int]:
        """The ids of ``after + text``; no special token is added."""
        return self.encode_parts((after + text,), tail=text)[0]

    def encode_parts(
        self, parts: Sequence[str], context: str = "", behind_token: bool = False, tail: str = ""
    ) -> list[list[int]]:
        """The ids of each part of a text, as the tokenizer writes them together; a token in two belongs to the later.

        Args:
            context: text right before it, whose ids are there already and stay what they are.
            behind_token: whether a token, and no text, stands before ``context``; else it begins a text.
            tail: the end of the last part, which may be a known text.
        """
        text = "".join(parts)
        assert text.endswith(tail)
        found = self._known_tail(context, text[: len(text) - len(tail)], tail, behind_token)
        tokens = found if found is not None else self._following(context, text, behind_token)
        return _by_part(tokens, parts)

    def encode_many(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """The ids of each text, tokenized on all cores."""
        for text, found in zip(texts, self._backend.encode_batch(texts, add_special_tokens=False), strict=True):
            yield list(found.ids if self._is_plain(text, found.ids) else self._encode_apart(text, False).ids)

    def inside_tokens(self, text: str) -> frozenset[int]:
        """The places of ``text`` (characters) where a cut would go through a token."""
        offsets = self._backend.encode(text, add_special_tokens=False).offsets
        return frozenset(place for start, stop in offsets for place in range(start + 1, stop))

    def _remember(self) -> None:
        self._tokens = lru_cache(maxsize=_CACHED_TEXTS)(self._tokenize)
        self._parts_at_space = lru_cache(maxsize=_CACHED_TEXTS)(self._try_at_space)
        self._parts_behind = lru_cache(maxsize=_CACHED_TEXTS)(self._try_behind)

    def _tokenize(self, text: str, behind_token: bool) -> _Tokens:
        if not behind_token:
            found = self._backend.encode(text, add_special_tokens=False)
            ids, stops = found.ids, [stop for _, stop in found.offsets]
        else:
            found = self._behind_token.encode(_SOME_TOKEN + text, add_special_tokens=False)
            ids, stops = found.ids[1:], [stop - len(_SOME_TOKEN) for _, stop in found.offsets[1:]]
        if not self._is_plain(text, ids):
            return self._encode_apart(text, behind_token)
        return _Tokens(tuple(ids), tuple(stops))

    def _following(self, context: str, text: str, behind_token: bool) -> _Tokens:
        """The tokens of ``text`` behind ``context``, which keeps its own."""
        if not context:
            return self._tokens(text, behind_token)
        for before in (context, *_ANCHORS):
            alone, together = self._tokens(before, behind_token), self._tokens(before + text, behind_token)
            count = len(alone.ids)
            if together.ids[:count] == alone.ids and together.stops[:count] == alone.stops:
                return _Tokens(together.ids[count:], tuple(stop - len(before) for stop in together.stops[count:]))
        return self._tokens(text, True)

    def _known_tail(self, context: str, before: str, tail: str, behind_token: bool) -> _Tokens | None:
        """The tokens of ``before + tail`` where ``tail`` is a known text and stands apart from what is before it."""
        if self._known is None or not tail:
            return None
        if not (context or before or behind_token):
            found = self._known.find(tail)
            return None if found is None else _Tokens(found, (len(tail),) * len(found))
        if not tail[:1].isalnum():
            return None
        ends = len(before) + len(tail)
        if before and self._parts_at_space(context + before, behind_token):
            found, before = self._known.find(after_space(tail)), before[:-1]
        elif self._parts_behind(context + before, behind_token):
            found = self._known.find(tail)
        else:
            return None
        if found is None:
            return None
        first = self._following(context, before, behind_token) if before else _Tokens((), ())
        return _Tokens(first.ids + found, first.stops + (ends,) * len(found))

    def _try_at_space(self, before: str, behind_token: bool) -> bool:
        """Whether this tokenizer makes the same ids of a request and a text apart, cut before their space."""
        if len(before) < 2 or before[-1] != " " or before[-2].isspace():
            return False
        return all(
            self._tokens(before[:-1], behind_token).ids + self._tokens(after_space(text), False).ids
            == self._tokens(before + text, behind_token).ids
            for text in _STARTS_OF_TEXTS
        )

    def _try_behind(self, before: str, behind_token: bool) -> bool:
        """Whether this tokenizer makes the same ids of a text by itself and right behind ``before``."""
        return all(
            self._following(before, text, behind_token).ids == self._tokens(text, False).ids
            for text in _STARTS_OF_TEXTS
        )

    def _is_plain(self, text: str, ids: Sequence[int]) -> bool:
        return self._control_ids.isdisjoint(ids) and not self._named_piece.search(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that start a text."""
        return str(self._backend.decode(list(ids), skip_special_tokens=False))

    def decode_continuation(self, ids: Sequence[int]) -> str:
        """The text of ids that go on after something else: a leading space is kept, where ``decode`` may drop it."""
        return self.decode([*self._anchor, *ids])[self._anchor_length :]

    def surface(self, ids: Sequence[int]) -> str:
        """Ids of a template, of markers or units, as their tokens spell them."""
        return surface(self._tokenizer, ids)

    def _encode_apart(self, text: str, behind_token: bool) -> _Tokens:
        # Some tokenizers hold control tokens, and the names of bytes, among their pieces. These are cut before the last
        # character of their surface.
        cuts = [0, *(match.end() - 1 for match in self._control_surfaces.finditer(text)), len(text)]
        tokens: list[tuple[int, int]] = []
        for start, stop in pairwise(cuts):
            backend, before = (self._behind_token, _SOME_TOKEN) if behind_token and start == 0 else (self._backend, "")
            found = backend.encode(before + text[start:stop], add_special_tokens=False)
            pairs = zip(found.ids, found.offsets, strict=True)
            tokens += [(token_id, end + start - len(before)) for token_id, (_, end) in pairs if end > len(before)]
        kept = [token for token in tokens if token[0] not in self._control_ids]
        return _Tokens(tuple(token_id for token_id, _ in kept), tuple(stop for _, stop in kept))


def surface(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Ids as their tokens spell them, one behind the other."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _by_part(tokens: _Tokens, parts: Sequence[str]) -> list[list[int]]:
    """The ids of each part: that in which a token ends."""
    found: list[list[int]] = []
    first, end = 0, 0
    for place, part in enumerate(parts, start=1):
        end += len(part)
        last = len(tokens.ids) if place == len(parts) else bisect_right(tokens.stops, end) if part else first
        found.append(list(tokens.ids[first:last]))
        first = last
    return found


def after_space(text: str) -> str:
    """A text as it is tokenized, and looked for among known texts, behind a request whose last space goes with it."""
    return " " + text


def is_control(content: str, special: bool) -> bool:
    """Whether an added token is one that no text may write: a special one, or a word in brackets as ``<think>``."""
    return special or (content[:1] in "<[" and content[-1:] in ">]" and len(content) > 1)


def _text_only(backend: Tokenizer, unknown: str | None, written: Sequence[str]) -> tuple[Tokenizer, dict[str, int]]:
    """A copy of the backend that reads control tokens as plain text, and the surfaces and ids of these tokens."""
    state = json.loads(backend.to_str())
    controls = {}
    for token in state["added_tokens"]:
        content = token["content"]
        if is_control(content, token["special"]):
            token["special"] = content not in written
            if content != unknown and content not in written:
                controls[content] = int(token["id"])
    missing = [content for content in written if content not in {token["content"] for token in state["added_tokens"]}]
    if missing:
        raise UserError(f"the tokenizer has no control token {missing[0]!r}; it has {', '.join(sorted(controls)[:20])}")
    state["post_processor"] = state["truncation"] = state["padding"] = None
    copy = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
    copy.encode_special_tokens = True
    return copy, controls
