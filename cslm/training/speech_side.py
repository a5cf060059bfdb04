"""The units that a run works with: of a card or of its base, behind the text of a model or alone in a textless one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from cslm.batches.sources import SourceConfig
from cslm.batches.weights import is_never_drawn, weight_at
from cslm.codecs.card import Card, load_card
from cslm.codecs.families import load_codec
from cslm.codecs.fingerprint import UNKNOWN, check_fingerprint
from cslm.errors import UserError
from cslm.model.backbone import load_text_tokenizer
from cslm.model.checkpoint import CARD_FILE, SPEECH_FOLDER, read_speech_section
from cslm.sequences.chains import markers_of_chains
from cslm.sequences.tasks import TASKS
from cslm.sequences.vocabulary import (
    SpeechVocabulary,
    extend_tokenizer,
    from_tokenizer,
    has_speech,
    is_textless,
    textless_tokenizer,
)
from cslm.training.language_model_config import RunPaths


@dataclass(frozen=True)
class SpeechSide:
    """The units that a run works with."""

    vocabulary: SpeechVocabulary
    """where units and markers stand"""
    fingerprint: str
    """of the speech tokenizer"""
    card: Card | None
    """None where a base made by others brings none"""
    is_new: bool
    """whether the rows are added by this run, behind those of text or in their place"""
    where: str
    """what named the fingerprint, for messages"""
    order: str | None = None
    """the chain of modality that answers are learnt in; None where neither the run nor its base learns any"""
    num_replaced_ids: int = 0
    """ids of the base's text tokenizer, whose rows those of a textless model stand in the place of"""

    def section(self) -> dict[str, Any]:
        """The speech section of the checkpoint's configuration."""
        section = self.vocabulary.to_dict()
        section |= {"fingerprint": self.fingerprint, "vocabulary_size": self.vocabulary.size}
        if self.order is not None:
            section["order"] = self.order
        if self.card is not None:
            section |= {"frame_rate_hz": self.card.frame_rate_hz, "sample_rate_hz": self.card.sample_rate_hz}
        return section


def orders_of(sources: Mapping[str, SourceConfig]) -> list[str]:
    """The chains of modality that the sources are written in, spoken dialogues first, then by weight at the end."""
    weights: dict[str, tuple[bool, float]] = {}
    for source in sources.values():
        if source.task in TASKS and "order" in TASKS[source.task].reads and not is_never_drawn(source.weight):
            found = ("store" in TASKS[source.task].reads, weight_at(source.weight, 1.0))
            weights[source.order] = max(found, weights.get(source.order, found))
    return sorted(weights, key=lambda order: weights[order], reverse=True)


def open_speech_side(
    paths: RunPaths, tokenizer: PreTrainedTokenizerBase, orders: Sequence[str] = ()
) -> SpeechSide | None:
    """The units, from the card or the base, added to ``tokenizer`` where it has none; None for a model of text alone.

    Args:
        orders: the chains of modality that the run writes; the markers that they need are added too.

    Raises:
        UserError: no such card, a card and a base of different speech tokenizers, or a textless base.
    """
    if is_textless(tokenizer):
        raise UserError(
            f"the base {paths.base} is textless: set model.textless true to train it further, or take a base with "
            "text; text is not added to a textless model"
        )
    section = read_speech_section(paths.base) if paths.base is not None else None
    is_new = not has_speech(tokenizer)
    if paths.card is None and is_new:
        return None
    order = orders[0] if orders else (section or {}).get("order")
    card = _card(paths)
    sizes = from_tokenizer(tokenizer).codebook_sizes if card is None else card.codebook_sizes
    vocabulary = extend_tokenizer(tokenizer, sizes, markers_of_chains(orders))
    fingerprint, where = _known_units(paths, card, is_new)
    return SpeechSide(vocabulary, fingerprint, card, is_new, where, order)


def open_textless_side(paths: RunPaths, merge_repeats: bool | None) -> tuple[PreTrainedTokenizerBase, SpeechSide]:
    """The tokenizer and the units of a textless model: of the card, in the place of all text, or of a textless base.

    Args:
        merge_repeats: whether repeats of one codebook are merged; None as the base does, or not at all.

    Raises:
        UserError: no card, a base with text and units, or one that writes its units in another way; as
            :func:`open_speech_side`.
    """
    base = None if paths.base is None else load_text_tokenizer(paths.base)
    card = _card(paths)
    if base is not None and is_textless(base):
        return base, _textless_base(paths, base, card, merge_repeats)
    if base is not None and has_speech(base):
        raise UserError(
            f"model.textless: the base {paths.base} has units beside its text already: give the model of text that it "
            "was made from, or a textless one"
        )
    if card is None:
        raise UserError("model.textless needs tokenizer_card: the card of the speech tokenizer whose units it learns")
    if merge_repeats and len(card.codebook_sizes) > 1:
        raise UserError(
            f"model.merge_repeats: the card {card.path} has {len(card.codebook_sizes)} codebooks, whose repeats are "
            "not merged: leave it out, or take one codebook (cslm take-codebooks)"
        )
    tokenizer = textless_tokenizer(card.codebook_sizes, bool(merge_repeats))
    fingerprint, where = _known_units(paths, card, is_new=True)
    num_replaced_ids = 0 if base is None else len(base)
    return tokenizer, SpeechSide(
        from_tokenizer(tokenizer), fingerprint, card, base is not None, where, num_replaced_ids=num_replaced_ids
    )


def _textless_base(
    paths: RunPaths, tokenizer: PreTrainedTokenizerBase, card: Card | None, merge_repeats: bool | None
) -> SpeechSide:
    """The units of a base that is textless already, which is trained further."""
    vocabulary = from_tokenizer(tokenizer)
    if card is not None and card.codebook_sizes != vocabulary.codebook_sizes:
        raise UserError(
            f"the base {paths.base} has codebooks {list(vocabulary.codebook_sizes)}, the card {card.path} "
            f"{list(card.codebook_sizes)}: use the card that it was trained with"
        )
    if merge_repeats not in (None, vocabulary.merges_repeats):
        raise UserError(
            f"model.merge_repeats is {merge_repeats}, and the base {paths.base} was trained with "
            f"{vocabulary.merges_repeats}: leave it out, or begin from another base"
        )
    fingerprint, where = _known_units(paths, card, is_new=False)
    return SpeechSide(vocabulary, fingerprint, card, is_new=False, where=where)


def _card(paths: RunPaths) -> Card | None:
    """The card that is given, or that the base brings."""
    of_base = Path(paths.base or "") / SPEECH_FOLDER / CARD_FILE
    if paths.card is None and not of_base.is_file():
        return None
    return load_card(paths.card or of_base)


def _known_units(paths: RunPaths, card: Card | None, is_new: bool) -> tuple[str, str]:
    """The fingerprint of the units, and what named it.

    Raises:
        UserError: the card and the base are of different speech tokenizers.
    """
    section = read_speech_section(paths.base) if paths.base is not None else None
    known = section["fingerprint"] if section is not None else UNKNOWN
    if card is None:
        return known, f"the base {paths.base}"
    found = card.fingerprint or load_codec(str(card.path)).fingerprint
    if not is_new:
        check_fingerprint(known, found, f"the base {paths.base}", f"the card {card.path}")
    return found, f"the card {card.path}"
