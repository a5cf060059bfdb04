"""The text side: a compact text tokenizer for language models made from scratch, and an encoder that keeps text text.

The small tokenizer is fitted by SentencePiece and saved as a fast Hugging Face tokenizer, which ``AutoTokenizer``
opens without this package. Three choices keep it small and exact:

- Normalisation is NFC only. (NFKC would turn the Chinese ``，？`` into ASCII, and text would not come back as it was.)
- A word of a script with spaces always starts with ``▁``, at the start of a text too, so that it has one piece wherever
  it stands. Chinese, Japanese and Thai get no such mark: they would pay a token for it.
- What no piece spells is written in bytes, so any text can be encoded. The 256 byte pieces count in ``vocab_size``.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
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
_UNSPACED_RUN = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+)")
_WORD = re.compile(f"{_SPACE}*[^{_SPACE}]+|{_SPACE}+")
_LAYOUT_PIECES = (":" + _SPACE, ";" + _SPACE)
_LONGEST_PIECE = 16
_LONGEST_UNSPACED_PIECE = 4
_COHESION = 8.0
_CACHED_TEXTS = 8192  # wordings come again and again, and so do the texts of a small world


def train_text_tokenizer(texts: Iterable[str], vocab_size: int, output: str | os.PathLike[str]) -> PreTrainedTokenizerFast:
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
    tokenizer = _fast_tokenizer(_fit_pieces(texts, vocab_size))
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
    """``save_pretrained``, with a class name that transformers 4 knows too: a folder of one stack opens on the other."""
    tokenizer.save_pretrained(folder)
    path = Path(folder) / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    if values.get("tokenizer_class") == "TokenizersBackend":
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    values.pop("backend", None)
    values.pop("is_local", None)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


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
        surfaces = [re.escape(surface) for surface in sorted(controls, key=len, reverse=True)]
        self._control_surfaces = re.compile("|".join([*surfaces, "<0x[0-9A-F]{2}>"]))
        self._encode = lru_cache(maxsize=_CACHED_TEXTS)(self._encode_now)
        self._anchor = self.encode(":")
        self._anchor_length = len(self.decode(self._anchor))

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids that no text becomes."""
        return self._control_ids

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``; no special token is added."""
        return list(self._encode(text))

    def _encode_now(self, text: str) -> tuple[int, ...]:
        ids = self._backend.encode(text, add_special_tokens=False).ids
        if self._control_ids.isdisjoint(ids) and "<0x" not in text:
            return tuple(ids)
        return tuple(self._encode_apart(text))

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
    """Special tokens, bytes, then the fitted pieces with their log probabilities; ``vocab_size`` in all at most.

    SentencePiece's merges propose pieces, for words of spaced scripts and for runs of the others apart. Of these stay the
    ones that the best segmentation of the texts uses most: whole words, without the steps that led to them.
    """
    spaced, unspaced = _count_words(texts)
    if not spaced and not unspaced:
        raise UserError("there is no text to fit the text tokenizer on: give at least one text that is not empty")
    characters = {_SPACE, *(character for word in chain(spaced, unspaced) for character in word)}
    room = vocab_size - len(SPECIAL_TOKENS) - 256 - len(_LAYOUT_PIECES) - len(characters)
    if room < 0:
        raise UserError(
            f"vocab_size {vocab_size} is too small for the characters of the texts: give {vocab_size - room} or more"
        )
    used: Counter[str] = Counter(dict.fromkeys(characters, 1))
    for words, longest, cohesion in ((spaced, _LONGEST_PIECE, 0.0), (unspaced, _LONGEST_UNSPACED_PIECE, _COHESION)):
        proposed = _propose_pieces(words, len(characters) + 4 * room, longest)
        used.update(_count_used(words, proposed, longest, cohesion))
    ranked = sorted((piece for piece in used if piece not in characters), key=lambda piece: (-used[piece], piece))
    kept = sorted(chain(characters, ranked[:room]), key=lambda piece: (-used[piece], piece))
    total = sum(used[piece] for piece in kept)
    scores = {piece: math.log(used[piece] / total) for piece in kept}
    lowest = math.log(1 / total)
    return [
        *((token, 0.0) for token in SPECIAL_TOKENS),
        *((f"<0x{byte:02X}>", lowest - 10.0) for byte in range(256)),
        *((piece, scores.get(piece[0], lowest)) for piece in _LAYOUT_PIECES),
        *scores.items(),
    ]


def _count_words(texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Words of scripts with spaces (with the space before them), and runs of scripts without, each with its count."""
    normalizer = _normalizer()
    spaced: Counter[str] = Counter()
    unspaced: Counter[str] = Counter()
    for text in texts:
        for line in text.replace("\t", "\n").splitlines():
            for run in _UNSPACED_RUN.split(normalizer.normalize_str(line)):
                if _UNSPACED_RUN.fullmatch(run):
                    unspaced[run] += 1
                else:
                    spaced.update(_WORD.findall(run))
    return spaced, unspaced


def _propose_pieces(words: Counter[str], num_pieces: int, longest: int) -> set[str]:
    """The pieces of a SentencePiece BPE model of the words, at most ``num_pieces``."""
    if not words:
        return set()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(f"{word.replace(_SPACE, ' ')}\t{count}" for word, count in sorted(words.items())),
        input_format="tsv",
        model_writer=model,
        model_type="bpe",
        vocab_size=num_pieces + 3,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        max_sentencepiece_length=longest,
        max_sentence_length=1_000_000,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    first_piece = 3  # after <unk>, <s> and </s>
    return {processor.id_to_piece(index) for index in range(first_piece, processor.get_piece_size())}


def _count_used(words: Counter[str], proposed: set[str], longest: int, cohesion: float) -> Counter[str]:
    """How often the likeliest segmentation of the words uses each piece.

    With ``cohesion``, a piece must occur that many times more often than its two parts would meet by chance, wherever it
    is cut: without spaces to stop at, merges go on across words.
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(start + longest, len(word)) + 1):
                counts[word[start:stop]] += count
    total = sum(count for piece, count in counts.items() if len(piece) == 1)

    def holds_together(piece: str) -> bool:
        parts = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        return all(counts[piece] * total >= cohesion * counts[left] * counts[right] for left, right in parts)

    pieces = sorted(piece for piece in proposed if counts[piece] and holds_together(piece))
    used: Counter[str] = Counter()
    if pieces:
        model = Unigram([(UNKNOWN, 0.0), *((piece, math.log(counts[piece] / total)) for piece in pieces)], unk_id=0)
        for word, count in words.items():
            for token in model.tokenize(word):
                used[token.value] += count
    return used
