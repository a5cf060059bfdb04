"""Pieces for a small text tokenizer: SentencePiece proposes them, how a text is best written with them decides.

SentencePiece's unigram trainer alone was measured in its place: the village then hears a quarter to two thirds worse
(``recipes/village/tried.md``).
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

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
_FIDELITY = 0.8
_LEAST_COUNT = 5
_ROUNDS = 3
_UNKNOWN = "<unk>"


def fit_pieces(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: tuple[str, ...],
    normalizer: normalizers.Normalizer,
    given: Sequence[str] = (),
) -> list[tuple[str, float]]:
    """Special tokens, bytes, then the fitted pieces with their log probabilities; ``vocab_size`` in all at most.

    SentencePiece's merges propose pieces, for words of spaced scripts and for runs of the others apart. Of these stay
    the ones that save the most tokens in the likeliest segmentation of the texts: whole words, without the steps that
    led to them. A character that only ever stands in such words is left to the bytes. What is ``given`` is one piece
    wherever it stands: no other way to write it is as likely.

    Raises:
        UserError: no text, or a ``vocab_size`` that leaves no room for pieces.
    """
    spaced, unspaced = _count_words(texts, normalizer)
    if not spaced and not unspaced:
        raise UserError("there is no text to fit the text tokenizer on: give at least one text that is not empty")
    given = tuple(dict.fromkeys(normalizer.normalize_str(piece).lstrip(SPACE) for piece in given))
    always = (SPACE, *_LAYOUT_PIECES, *given)
    room = vocab_size - len(special_tokens) - 256 - len(always)
    if room < 1:
        raise UserError(f"vocab_size {vocab_size} leaves no room for pieces: give {vocab_size - room + 100} or more")
    words = {True: spaced, False: unspaced}
    pieces = {
        True: _propose_pieces(spaced, 4 * vocab_size, _LONGEST_PIECE),
        False: _hold_together(unspaced, _propose_pieces(unspaced, 4 * vocab_size, _LONGEST_UNSPACED_PIECE)),
    }
    used: Counter[str] = Counter()
    for _ in range(_ROUNDS):
        used = _count_used(words[True], pieces[True]) + _count_used(words[False], pieces[False])
        saved = {piece: count * _tokens_saved(piece) for piece, count in used.items() if piece not in always}
        best = sorted((piece for piece in saved if saved[piece]), key=lambda piece: (-saved[piece], piece))[:room]
        pieces = {key: pieces[key].intersection(best) for key in pieces}
    kept = sorted(best, key=lambda piece: (-used[piece], piece))
    total = sum(used[piece] for piece in kept) + 1
    scores = {piece: math.log(used[piece] / total) for piece in kept}
    lowest = math.log(1 / total)
    return [
        *((token, 0.0) for token in special_tokens),
        *((f"<0x{byte:02X}>", lowest - 10.0) for byte in range(256)),
        *((piece, 0.0 if piece in given else lowest) for piece in always),
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


def _hold_together(words: Counter[str], proposed: set[str]) -> set[str]:
    """The proposed pieces that are words, or phrases that never vary.

    Without spaces to stop at, merges go on across words. So two characters must meet more often than by
    chance, and a longer piece must, wherever it is cut, have a part that hardly ever comes without the other.
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(start + _LONGEST_UNSPACED_PIECE, len(word)) + 1):
                counts[word[start:stop]] += count
    total = sum(count for piece, count in counts.items() if len(piece) == 1)

    def holds_together(piece: str) -> bool:
        parts = [(counts[piece[:cut]], counts[piece[cut:]]) for cut in range(1, len(piece))]
        if len(piece) == 2:
            return counts[piece] * total >= _COHESION * parts[0][0] * parts[0][1]
        return all(counts[piece] >= _FIDELITY * min(left, right) for left, right in parts)

    return {piece for piece in proposed if counts[piece] >= _LEAST_COUNT and holds_together(piece)}


def _count_used(words: Counter[str], pieces: set[str]) -> Counter[str]:
    """How often the likeliest segmentation of the words uses each piece and character."""
    counts: Counter[str] = Counter()
    longest = max((len(piece) for piece in pieces), default=1)
    for word, count in words.items():
        for start in range(len(word)):
            counts[word[start]] += count
            for stop in range(start + 2, min(start + longest, len(word)) + 1):
                if word[start:stop] in pieces:
                    counts[word[start:stop]] += count
    used: Counter[str] = Counter()
    if counts:
        total = sum(counts.values())
        model = Unigram([(_UNKNOWN, 0.0), *((piece, math.log(counts[piece] / total)) for piece in sorted(counts))], 0)
        for word, count in words.items():
            for token in model.tokenize(word):
                used[token.value] += count
    return used


def _tokens_saved(piece: str) -> float:
    """Tokens that one use of a piece saves against its characters, and those of a character against its bytes.

    An ASCII character saves none, but reads better than its byte: frequent ones are kept.
    """
    return len(piece) - 1 if len(piece) > 1 else max(len(piece.encode("utf-8")) - 1, 0.01)
