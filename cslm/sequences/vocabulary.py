"""The speech vocabulary of a tokenizer: read from one, added to a text tokenizer, or all that a textless one has.

Surface forms are the paper's (section 3.1, appendix A): ``<0>`` ... ``<4095>``, ``<sosp>``, ``<eosp>``, ``[question]``,
``[answer]``; further codebooks spell ``<1:0>``, ``<2:0>``, ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from cslm.codecs.units import unit_token
from cslm.errors import UserError
from cslm.sequences.chains import markers_of_chains
from cslm.sequences.vocabulary_layout import (
    ANSWER,
    END_OF_SPEECH,
    MARKERS,
    QUESTION,
    START_OF_SPEECH,
    SpeechVocabulary,
)
from tokenizers import AddedToken, Tokenizer, decoders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

__all__ = [
    "ANSWER",
    "END_OF_SPEECH",
    "MARKERS",
    "QUESTION",
    "START_OF_SPEECH",
    "SpeechVocabulary",
    "extend_tokenizer",
    "from_tokenizer",
    "has_speech",
    "is_textless",
    "textless_tokenizer",
]

END_OF_DOCUMENT = "<|endoftext|>"
"""ends a document of a textless model; the tokenizers of GPT-2 and Qwen2 would add one of this name if it had none"""
MERGE_REPEATS = "merge_repeats"
"""the key of a textless tokenizer's configuration that says whether repeats of its units are merged"""


def has_speech(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether any unit or marker was added to the tokenizer."""
    added = tokenizer.get_added_vocab()
    return any(form in added for form in (unit_token(0), *MARKERS))


def is_textless(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer spells units and no text: they come from id 0 on, and there is no marker."""
    added = tokenizer.get_added_vocab()
    return added.get(unit_token(0)) == 0 and not any(form in added for form in MARKERS)


def from_tokenizer(tokenizer: PreTrainedTokenizerBase) -> SpeechVocabulary:
    """The layout of any tokenizer whose added tokens spell units and markers, the authors' release among them.

    That of a textless one too, which has nothing but units and what ends a document.

    Raises:
        UserError: a marker or the units are missing, or the units are not one contiguous block.
    """
    if is_textless(tokenizer):
        return _from_textless(tokenizer)
    added: dict[str, int] = tokenizer.get_added_vocab()
    missing = [form for form in (unit_token(0), *MARKERS) if form not in added]
    if missing:
        raise UserError(
            f"the tokenizer {_name(tokenizer)} has no added token {' '.join(missing)}: "
            "it was not extended for speech; pre-train from it first"
        )
    first = added[unit_token(0)]
    sizes = _codebook_sizes(tokenizer, added)
    markers = {form: added[form] for form in dict.fromkeys((*MARKERS, *markers_of_chains())) if form in added}
    num_text_ids = min(first, *(markers[form] for form in MARKERS))
    return SpeechVocabulary(num_text_ids, sizes, first, markers)


def _from_textless(tokenizer: PreTrainedTokenizerBase) -> SpeechVocabulary:
    ids: dict[str, int] = tokenizer.get_vocab()
    sizes = _codebook_sizes(tokenizer, ids)
    if tokenizer.eos_token_id != sum(sizes) or len(ids) != sum(sizes) + 1:
        raise UserError(
            f"the tokenizer {_name(tokenizer)} has {sum(sizes):,} units and no text, and {len(ids):,} ids in all with "
            f"eos_token_id {tokenizer.eos_token_id}: beside its units it must have what ends a document alone"
        )
    return SpeechVocabulary.without_text(sizes, bool(tokenizer.init_kwargs.get(MERGE_REPEATS, False)))


def _codebook_sizes(tokenizer: PreTrainedTokenizerBase, ids: Mapping[str, int]) -> tuple[int, ...]:
    """The units among ``ids``, codebook by codebook.

    Raises:
        UserError: they are not one contiguous block.
    """
    first = ids[unit_token(0)]
    sizes: list[int] = []
    while unit_token(0, len(sizes)) in ids:
        codebook, size = len(sizes), 0
        while unit_token(size, codebook) in ids:
            if ids[unit_token(size, codebook)] != first + sum(sizes) + size:
                raise UserError(
                    f"the units of the tokenizer {_name(tokenizer)} are not one block: "
                    f"{unit_token(size, codebook)} has id {ids[unit_token(size, codebook)]}, not "
                    f"{first + sum(sizes) + size}"
                )
            size += 1
        sizes.append(size)
    return tuple(sizes)


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or "(unnamed)"


def textless_tokenizer(codebook_sizes: Sequence[int], merge_repeats: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer that spells ``<0><12>`` and what ends a document; between them it passes over whatever it is given.

    ``AutoTokenizer`` opens what it saves without this package. All that it has are added tokens: for some architectures
    (``qwen2``) transformers 5 makes a tokenizer of its own class out of any file, and keeps only these. It remembers
    ``merge_repeats``, which is how the ids of a recording are made and nothing that happens to strings.
    """
    vocabulary = SpeechVocabulary.without_text(codebook_sizes, merge_repeats)
    backend = Tokenizer(BPE({}, []))
    backend.decoder = decoders.Fuse()
    backend.add_tokens([AddedToken(token, normalized=False) for token in vocabulary.tokens()])
    backend.add_special_tokens([AddedToken(END_OF_DOCUMENT, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_OF_DOCUMENT,
        pad_token=END_OF_DOCUMENT,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **{MERGE_REPEATS: merge_repeats},
    )
    assert from_tokenizer(tokenizer) == vocabulary, "the tokenizer gave units other ids"
    return tokenizer


def extend_tokenizer(
    tokenizer: PreTrainedTokenizerBase, codebook_sizes: Sequence[int], further: Sequence[str] = ()
) -> SpeechVocabulary:
    """Add units and markers to a text tokenizer, in place. Text ids do not change. Done twice, it changes nothing.

    Args:
        further: markers of chains (:func:`~cslm.sequences.chains.markers_of_chains`); those beside the four are added,
            in a tokenizer that holds units already behind all that it has.

    Raises:
        UserError: the tokenizer has no text, has units of another layout already, or spells one of the new tokens
            itself.
    """
    if is_textless(tokenizer):
        raise UserError(
            f"the tokenizer {_name(tokenizer)} is that of a textless model, which text cannot be added to: begin from "
            "a model with text"
        )
    sizes = tuple(int(size) for size in codebook_sizes)
    wanted = [form for form in dict.fromkeys(further) if form not in MARKERS]
    unknown = [form for form in wanted if form not in markers_of_chains()]
    assert not unknown, f"no chain writes the marker {', '.join(unknown)}"
    if has_speech(tokenizer):
        found = from_tokenizer(tokenizer)
        if found.codebook_sizes != sizes:
            raise UserError(
                f"the tokenizer {_name(tokenizer)} already holds units of codebooks "
                f"{list(found.codebook_sizes)}, but the card has {list(sizes)}: use the card that it was extended with"
            )
        _add(tokenizer, [form for form in wanted if form not in found.further])
        return from_tokenizer(tokenizer)
    vocabulary = SpeechVocabulary.after_text(len(tokenizer), sizes, wanted)
    _add(tokenizer, vocabulary.tokens())
    assert from_tokenizer(tokenizer) == vocabulary, "the tokenizer gave the new tokens other ids"
    return vocabulary


def _add(tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> None:
    taken = set(tokens) & set(tokenizer.get_vocab())
    if taken:
        raise UserError(f"the text tokenizer already spells {sorted(taken)[:4]}: it cannot be extended with units")
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
