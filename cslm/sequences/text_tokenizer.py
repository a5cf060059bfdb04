"""The text side: a compact text tokenizer for language models made from scratch, and an encoder that keeps text text.

The small tokenizer is fitted by SentencePiece and saved as a fast Hugging Face tokenizer, which ``AutoTokenizer``
opens without this package. Three choices keep it small and exact:

- Normalisation is NFC only. (NFKC would turn the Chinese ``，？`` into ASCII, and text would not come back as it was.)
- A word of a script with spaces always starts with ``▁``, at the start of a text too, so that it has one piece wherever
  it stands. Chinese, Japanese and Thai get no such mark: they would pay a token for it.
- What no piece spells is written in bytes, so any text can be encoded. The 256 byte pieces count in ``vocab_size``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cslm.errors import UserError
from cslm.sequences.known_texts import KnownTexts
from cslm.sequences.text_pieces import SPACE, fit_pieces
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers

PAD, UNKNOWN, END = "<pad>", "<unk>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, UNKNOWN, END, SYSTEM, USER, ASSISTANT)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_START_OFSPACED_WORD = rf"\A(?=[\p{{L}}\p{{N}}&&[^{_UNSPACED}]])"
_CACHED_TEXTS = 8192  # wordings come again and again, and so do the texts of a small world


def train_text_tokenizer(
    texts: Iterable[str], vocab_size: int, output: str | os.PathLike[str]
) -> PreTrainedTokenizerFast:
    """Fit SentencePiece pieces on ``texts`` and save it as a fast tokenizer with a chat template.

    Args:
        texts: what the language model will read and write; give the wordings of the prompts too.
        vocab_size: ids in all at most, 256 bytes and the special tokens included; a small world needs fewer.
        output: the folder to write; it appears whole or not at all.

    Raises:
        UserError: no text, too small a ``vocab_size`` for the characters of the texts, or the folder exists.
    """
    folder = Path(output)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give a new folder for the text tokenizer")
    tokenizer = _fast_tokenizer(fit_pieces(texts, vocab_size, SPECIAL_TOKENS, _normalizer()))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        save_text_tokenizer(tokenizer, temporary)
        temporary.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return tokenizer


def save_text_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """``save_pretrained`` with a class name that transformers 4 knows too, so that both stacks open the folder."""
    tokenizer.save_pretrained(folder)
    path = Path(folder) / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    if values.get("tokenizer_class") == "TokenizersBackend":
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    values.pop("backend", None)
    values.pop("is_local", None)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


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
        self._known: KnownTexts | None = None
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

    def knowing(self, known: KnownTexts) -> TextEncoder:
        """The same encoder, which finds some texts instead of tokenizing them again."""
        encoder = copy.copy(self)
        encoder._known = known
        encoder._remember()
        return encoder

    def encode(self, text: str, after: str = "") -> list[int]:
        """The ids of ``after + text``; no special token is added."""
        if after and self._known is not None and text[:1].isalnum() and self._parts_at_space(after):
            return [*self._encode(after[:-1]), *self._encode(after[-1] + text)]
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


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(" ", SPACE), normalizers.Replace(Regex(_START_OFSPACED_WORD), SPACE)]
    )


def _fast_tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(Unigram(pieces, unk_id=SPECIAL_TOKENS.index(UNKNOWN), byte_fallback=True))
    backend.normalizer = _normalizer()
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
