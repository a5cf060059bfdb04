"""Pieces for a small text tokenizer: SentencePiece proposes them, how a text is best written with them decides."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain

import sentencepiece
from tokenizers.models import Unigram

from cslm.errors import UserError
from tokenizers import normalizers

SPACE = "▁"
_UNSPACED_RUN = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+)")
_WORD = re.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")
_LAYOUT_PIECES = (":" + SPACE, ";" + SPACE)  # ends of "This is input: " and of "[question]: ...; "
_LONGEST_PIECE = 16
_LONGEST_UNSPACED_PIECE = 4
_COHESION = 8.0
_UNKNOWN = "<unk>"


def fit_pieces(
    texts: Iterable[str], vocab_size: int, special_tokens: tuple[str, ...], normalizer: normalizers.Normalizer
) -> list[tuple[str, float]]:
    """Special tokens, bytes, then the fitted pieces with their log probabilities; ``vocab_size`` in all at most.

    SentencePiece's merges propose pieces, for words of spaced scripts and for runs of the others apart. Of these stay
    the ones that the best segmentation of the texts uses most: whole words, without the steps that led to them.

    Raises:
        UserError: no text, or too small a ``vocab_size`` for the characters of the texts.
    """
    spaced, unspaced = _count_words(texts, normalizer)
    if not spaced and not unspaced:
        raise UserError("there is no text to fit the text tokenizer on: give at least one text that is not empty")
    characters = {SPACE, *(character for word in chain(spaced, unspaced) for character in word)}
    room = vocab_size - len(special_tokens) - 256 - len(_LAYOUT_PIECES) - len(characters)
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
        *((token, 0.0) for token in special_tokens),
        *((f"<0x{byte:02X}>", lowest - 10.0) for byte in range(256)),
        *((piece, scores.get(piece[0], lowest)) for piece in _LAYOUT_PIECES),
        *scores.items(),
    ]


def _count_words(texts: Iterable[str], normalizer: normalizers.Normalizer) -> tuple[Counter[str], Counter[str]]:
    """Words of scripts with spaces (with the space before them), and runs of scripts without, each with its count."""
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
        sentence_iterator=(f"{word.replace(SPACE, ' ')}\t{count}" for word, count in sorted(words.items())),
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

    With ``cohesion``, a piece must occur that many times more often than its two parts would meet by chance, wherever
    it is cut: without spaces to stop at, merges go on across words.
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
        model = Unigram([(_UNKNOWN, 0.0), *((piece, math.log(counts[piece] / total)) for piece in pieces)], unk_id=0)
        for word, count in words.items():
            for token in model.tokenize(word):
                used[token.value] += count
    return used
