"""The text side: a compact text tokenizer for language models made from scratch, and an encoder that keeps text text.

The small tokenizer is fitted by SentencePiece and saved as a fast Hugging Face tokenizer, which ``AutoTokenizer``
opens without this package. Three choices keep it small and exact:

- Normalisation is NFC only. (NFKC would turn the Chinese ``，？`` into ASCII, and text would not come back as it was.)
- A word of a script with spaces always starts with ``▁``, at the start of a text too, so that it has one piece wherever
  it stands. Chinese, Japanese and Thai get no such mark: they would pay a token for it.
- What no piece spells is written in bytes, so any text can be encoded. The 256 byte pieces count in ``vocab_size``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cslm.errors import UserError
from cslm.files.atomic_file import folder_aside
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
    texts: Iterable[str], vocab_size: int, output: str | os.PathLike[str], always: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Fit SentencePiece pieces on ``texts`` and save it as a fast tokenizer with a chat template.

    Args:
        texts: what the language model will read and write; give the wordings of the prompts too.
        vocab_size: ids in all at most, 256 bytes and the special tokens included; a small world needs fewer.
        output: the folder to write; it appears whole or not at all.
        always: texts without spaces that are one piece wherever they stand, whether ``texts`` hold them or not.

    Raises:
        UserError: no text, too small a ``vocab_size`` for the characters of the texts, a space in ``always``, or the
            folder exists.
    """
    folder = Path(output)
    unfit = [piece for piece in always if not piece or any(character.isspace() for character in piece)]
    if unfit:
        raise UserError(f"text_tokenizer: always holds {unfit}: a piece has no space in it and is not empty")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give a new folder for the text tokenizer")
    tokenizer = _fast_tokenizer(fit_pieces(texts, vocab_size, SPECIAL_TOKENS, _normalizer(), always))
    with folder_aside(folder) as aside:
        save_text_tokenizer(tokenizer, aside)
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
