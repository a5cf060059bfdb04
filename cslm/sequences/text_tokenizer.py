"""The text side: a compact text tokenizer for language models made from scratch, and an encoder that keeps text text.

The small tokenizer is a SentencePiece unigram model saved as a fast Hugging Face tokenizer, which ``AutoTokenizer``
opens without this package. Three choices keep it small and exact:

- Normalisation is NFC only. (NFKC would turn the Chinese ``，？`` into ASCII, and text would not come back as it was.)
- A word of a script with spaces always starts with ``▁``, at the start of a text too, so that it has one piece wherever
  it stands. Chinese, Japanese and Thai get no such mark: they would pay a token for it.
- What no piece spells is written in bytes, so any text can be encoded. The 256 byte pieces count in ``vocab_size``.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cslm.errors import UserError

PAD, UNKNOWN, END = "<pad>", "<unk>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, UNKNOWN, END, SYSTEM, USER, ASSISTANT)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_SPACE = "▁"
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_START_OF_SPACED_WORD = rf"\A(?=[\p{{L}}\p{{N}}&&[^{_UNSPACED}]])"
_HAN_RUN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_LAYOUT_PIECES = (":" + _SPACE, ";" + _SPACE)
_LONGEST_HAN_PIECE = 4
_LONGEST_LINE = 1000


def train_text_tokenizer(texts: Iterable[str], vocab_size: int, output: str | os.PathLike[str]) -> PreTrainedTokenizerFast:
    """Fit a SentencePiece unigram model on ``texts`` and save it as a fast tokenizer with a chat template.

    Args:
        texts: what the language model will read and write; give the wordings of the prompts too.
        vocab_size: ids in all, 256 bytes and the special tokens included.
        output: the folder to write; it appears whole or not at all.

    Raises:
        UserError: no text, too small a ``vocab_size`` for the characters of the texts, or the folder exists.
    """
    folder = Path(output)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give a new folder for the text tokenizer")
    tokenizer = _fast_tokenizer(_fit_pieces(texts, vocab_size))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        tokenizer.save_pretrained(temporary)
        temporary.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return tokenizer


class TextEncoder:
    """Text to ids and back, for any fast tokenizer. Text never becomes a unit, a marker or a control token.

    Text that spells ``<12>``, ``[answer]`` or ``<|end|>`` is cut into ordinary pieces, and reads the same when decoded.

    Raises:
        UserError: the tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path or '(unnamed)'} is not a fast one: save it with a tokenizer.json"
            )
        self._tokenizer = tokenizer
        self._backend, controls = _text_only(tokenizer.backend_tokenizer, tokenizer.unk_token)
        self._control_ids = frozenset(controls.values())
        surfaces = sorted(controls, key=len, reverse=True)
        self._control_surfaces = re.compile("|".join(re.escape(surface) for surface in surfaces)) if surfaces else None
        self._anchor = self.encode(":")
        self._anchor_length = len(self.decode(self._anchor))

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids that no text becomes."""
        return self._control_ids

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``; no special token is added."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids if self._control_ids.isdisjoint(ids) else self._encode_apart(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that start a text."""
        return str(self._backend.decode(list(ids), skip_special_tokens=False))

    def decode_continuation(self, ids: Sequence[int]) -> str:
        """The text of ids that go on after something else: a leading space is kept, where ``decode`` may drop it."""
        return self.decode([*self._anchor, *ids])[self._anchor_length :]

    def _encode_apart(self, text: str) -> list[int]:
        # A few tokenizers hold control tokens among their ordinary pieces. Their surface is cut after its first character.
        assert self._control_surfaces is not None
        cuts = [0, *(match.start() + 1 for match in self._control_surfaces.finditer(text)), len(text)]
        ids: list[int] = []
        for start, stop in zip(cuts, cuts[1:], strict=False):
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
        [normalizers.NFC(), normalizers.Replace(" ", _SPACE), normalizers.Replace(Regex(_START_OF_SPACED_WORD), _SPACE)]
    )


def _fast_tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(Unigram(pieces, unk_id=SPECIAL_TOKENS.index(UNKNOWN), byte_fallback=True))
    backend.normalizer = _normalizer()
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
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


def _fit_pieces(texts: Iterable[str], vocab_size: int) -> list[tuple[str, float]]:
    """Special tokens, bytes, then the fitted pieces with their log probabilities; ``vocab_size`` in all."""
    lines = _lines(texts)
    first = next(lines, None)
    if first is None:
        raise UserError("there is no text to fit the text tokenizer on: give at least one text that is not empty")
    num_fitted = vocab_size - len(SPECIAL_TOKENS) - 256
    fitted = _train_sentencepiece(chain([first], lines), num_fitted)
    single = [piece for piece in fitted if len(piece[0]) == 1]
    longer = [piece for piece in fitted if len(piece[0]) > 1 and _longest_han_run(piece[0]) <= _LONGEST_HAN_PIECE]
    room = num_fitted - len(single) - len(_LAYOUT_PIECES)
    if room < 0:
        least = vocab_size - room
        raise UserError(f"vocab_size {vocab_size} is too small for the characters of the texts: give {least} or more")
    best = dict(fitted).get(":", max(score for _, score in fitted))
    kept = single + sorted(longer, key=lambda piece: (-piece[1], piece[0]))[:room]
    lowest = min(score for _, score in fitted)
    return [
        *((token, 0.0) for token in SPECIAL_TOKENS),
        *((f"<0x{byte:02X}>", lowest - 10.0) for byte in range(256)),
        *((piece, best) for piece in _LAYOUT_PIECES),
        *sorted(kept, key=lambda piece: (-piece[1], piece[0])),
    ]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    normalizer = _normalizer()
    for text in texts:
        for line in text.splitlines():
            for start in range(0, len(line), _LONGEST_LINE):
                part = normalizer.normalize_str(line[start : start + _LONGEST_LINE])
                if part:
                    yield part.replace(_SPACE, " ")


def _train_sentencepiece(lines: Iterator[str], num_pieces: int) -> list[tuple[str, float]]:
    # Fitted with room to spare: pieces that are too long for Chinese are struck out afterwards.
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="unigram",
        vocab_size=max(num_pieces, 16) * 2,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        max_sentence_length=16 * _LONGEST_LINE,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [
        (processor.id_to_piece(index), processor.get_score(index))
        for index in range(processor.get_piece_size())
        if not (processor.is_control(index) or processor.is_unknown(index) or processor.is_byte(index))
        and processor.id_to_piece(index) not in _LAYOUT_PIECES
    ]


def _longest_han_run(piece: str) -> int:
    return max((len(run) for run in _HAN_RUN.findall(piece)), default=0)
