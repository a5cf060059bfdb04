"""The speech vocabulary: where units and markers stand among the ids of a text tokenizer.

Text ids stay as they are; from ``len(tokenizer)`` on comes one contiguous block of units, then the markers. Surface
forms are the paper's (section 3.1, appendix A): ``<0>`` ... ``<4095>``, ``<sosp>``, ``<eosp>``, ``[question]``,
``[answer]``; further codebooks spell ``<1:0>``, ``<2:0>``, ... Units become ids by adding an offset, never by going
through strings. Chains of modality may have markers of their own: a tokenizer holds them or not (``further``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import unit_token
from cslm.errors import UserError
from cslm.sequences.chains import markers_of_chains
from tokenizers import AddedToken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

START_OF_SPEECH = "<sosp>"
END_OF_SPEECH = "<eosp>"
QUESTION = "[question]"
ANSWER = "[answer]"
MARKERS = (START_OF_SPEECH, END_OF_SPEECH, QUESTION, ANSWER)

PADDING_MULTIPLE = 64


@dataclass(frozen=True)
class SpeechVocabulary:
    """The layout of text, units and markers. Frozen: a checkpoint keeps the one that it was trained with."""

    num_text_ids: int
    codebook_sizes: tuple[int, ...]
    first_unit_id: int
    sosp: int
    eosp: int
    question: int
    answer: int
    further: Mapping[str, int] = field(default_factory=dict, hash=False)
    """surface forms and ids of the markers that only some chains write"""

    @classmethod
    def after_text(
        cls, num_text_ids: int, codebook_sizes: Sequence[int], further: Sequence[str] = ()
    ) -> SpeechVocabulary:
        """The layout of this package: units from ``num_text_ids`` on, then the four markers, then ``further`` ones."""
        sizes = tuple(int(size) for size in codebook_sizes)
        assert sizes and min(sizes) > 0, sizes
        ids = {form: num_text_ids + sum(sizes) + place for place, form in enumerate((*MARKERS, *further))}
        sosp, eosp, question, answer = (ids[form] for form in MARKERS)
        more = {form: ids[form] for form in further}
        return cls(num_text_ids, sizes, num_text_ids, sosp, eosp, question, answer, more)

    @property
    def num_units(self) -> int:
        """How many ids name a unit, over all codebooks."""
        return sum(self.codebook_sizes)

    @property
    def markers(self) -> dict[str, int]:
        """Surface forms and ids of all markers: ``<sosp>``, ``<eosp>``, ``[question]``, ``[answer]``, further ones."""
        return {**dict(zip(MARKERS, (self.sosp, self.eosp, self.question, self.answer), strict=True)), **self.further}

    @property
    def marker_ids(self) -> tuple[int, ...]:
        """The ids of all markers, in the order of :attr:`markers`."""
        return tuple(self.markers.values())

    @property
    def size(self) -> int:
        """The number of ids that name something: text, units and markers."""
        return max(self.num_text_ids, self.first_unit_id + self.num_units, max(self.marker_ids) + 1)

    @property
    def padded_size(self) -> int:
        """The size rounded up to a multiple of 64: the rows of our embedding."""
        return -(-self.size // PADDING_MULTIPLE) * PADDING_MULTIPLE

    @property
    def codebook_offsets(self) -> npt.NDArray[np.int64]:
        """The id of unit 0 of each codebook, ``(num_codebooks,)``."""
        starts = np.cumsum((0, *self.codebook_sizes[:-1]), dtype=np.int64)
        return starts + self.first_unit_id

    def unit_id(self, unit: int, codebook: int = 0) -> int:
        """The id of one unit."""
        assert 0 <= unit < self.codebook_sizes[codebook], (unit, codebook, self.codebook_sizes)
        return self.first_unit_id + sum(self.codebook_sizes[:codebook]) + unit

    def unit_ids(self, units: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Ids of units ``(num_frames, num_codebooks)``, frame by frame: ``(num_frames * num_codebooks,)``.

        Raises:
            UserError: the units have another number of codebooks, or are out of range for this vocabulary.
        """
        if len(self.codebook_sizes) == 1:
            flat = units.reshape(-1).astype(np.int32)
            if units.ndim == 2 and units.shape[1] != 1:
                raise UserError(
                    f"units of {units.shape[1]} codebooks in a vocabulary of 1: use the card it was made with"
                )
            if flat.size and (int(flat.max()) >= self.codebook_sizes[0] or int(flat.min()) < 0):
                raise UserError(self._out_of_range(int(flat.max())))
            return flat + np.int32(self.first_unit_id)
        if units.ndim != 2 or units.shape[1] != len(self.codebook_sizes):
            raise UserError(
                f"units of shape {units.shape} in a vocabulary of {len(self.codebook_sizes)} codebooks: "
                "use the card it was made with"
            )
        if units.size and bool((units >= np.asarray(self.codebook_sizes)).any()):
            raise UserError(self._out_of_range(int(units.max())))
        return (units.astype(np.int64) + self.codebook_offsets).reshape(-1).astype(np.int32)

    def _out_of_range(self, unit: int) -> str:
        return f"unit {unit} in a vocabulary of codebooks {list(self.codebook_sizes)}: use the card it was made with"

    def is_unit(self, ids: Any) -> Any:
        """Which of ``ids`` (an int, an array or a tensor) name units: a bool, or booleans of the same shape."""
        return (ids >= self.first_unit_id) & (ids < self.first_unit_id + self.num_units)

    def units_from_ids(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Units ``(num_frames, num_codebooks)`` of ids written frame by frame.

        Reads up to the first id that stands out of turn; an unfinished last frame is left out. (A model may write such
        things; a sequence that this package built holds none.)
        """
        flat = np.asarray(ids, dtype=np.int64).reshape(-1)
        num_codebooks = len(self.codebook_sizes)
        frames = flat[: len(flat) // num_codebooks * num_codebooks].reshape(-1, num_codebooks) - self.codebook_offsets
        wrong = ((frames < 0) | (frames >= np.asarray(self.codebook_sizes))).any(axis=1)
        return frames[: int(wrong.argmax())] if wrong.any() else frames

    def tokens(self) -> list[str]:
        """The surface forms of units and markers, in the order of their ids."""
        forms = {
            self.unit_id(unit, codebook): unit_token(unit, codebook)
            for codebook, size in enumerate(self.codebook_sizes)
            for unit in range(size)
        }
        forms.update((token_id, form) for form, token_id in self.markers.items())
        return [forms[token_id] for token_id in sorted(forms)]

    def to_dict(self) -> dict[str, Any]:
        """The layout as plain values, for the speech section of a checkpoint's config."""
        further = {"further_markers": dict(self.further)} if self.further else {}
        return {
            "num_text_ids": self.num_text_ids,
            "codebook_sizes": list(self.codebook_sizes),
            "first_unit_id": self.first_unit_id,
            "sosp": self.sosp,
            "eosp": self.eosp,
            "question": self.question,
            "answer": self.answer,
            **further,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpeechVocabulary:
        """The layout that :meth:`to_dict` wrote."""
        names = ("num_text_ids", "first_unit_id", "sosp", "eosp", "question", "answer")
        sizes = tuple(int(size) for size in values["codebook_sizes"])
        further = {form: int(token_id) for form, token_id in values.get("further_markers", {}).items()}
        return cls(codebook_sizes=sizes, further=further, **{name: int(values[name]) for name in names})


def has_speech(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether any unit or marker was added to the tokenizer."""
    added = tokenizer.get_added_vocab()
    return any(form in added for form in (unit_token(0), *MARKERS))


def from_tokenizer(tokenizer: PreTrainedTokenizerBase) -> SpeechVocabulary:
    """The layout of any tokenizer whose added tokens spell units and markers, the authors' release among them.

    Raises:
        UserError: a marker or the units are missing, or the units are not one contiguous block.
    """
    added: dict[str, int] = tokenizer.get_added_vocab()
    missing = [form for form in (unit_token(0), *MARKERS) if form not in added]
    if missing:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path or '(unnamed)'} has no added token {' '.join(missing)}: "
            "it was not extended for speech; pre-train from it first"
        )
    first = added[unit_token(0)]
    sizes: list[int] = []
    while unit_token(0, len(sizes)) in added:
        codebook, size = len(sizes), 0
        while unit_token(size, codebook) in added:
            if added[unit_token(size, codebook)] != first + sum(sizes) + size:
                raise UserError(
                    f"the units of the tokenizer {tokenizer.name_or_path or '(unnamed)'} are not one block: "
                    f"{unit_token(size, codebook)} has id {added[unit_token(size, codebook)]}, not "
                    f"{first + sum(sizes) + size}"
                )
            size += 1
        sizes.append(size)
    sosp, eosp, question, answer = (added[form] for form in MARKERS)
    further = {form: added[form] for form in markers_of_chains() if form in added and form not in MARKERS}
    num_text_ids = min(first, sosp, eosp, question, answer)
    return SpeechVocabulary(num_text_ids, tuple(sizes), first, sosp, eosp, question, answer, further)


def extend_tokenizer(
    tokenizer: PreTrainedTokenizerBase, codebook_sizes: Sequence[int], further: Sequence[str] = ()
) -> SpeechVocabulary:
    """Add units and markers to a text tokenizer, in place. Text ids do not change. Done twice, it changes nothing.

    Args:
        further: markers of chains (:func:`~cslm.sequences.chains.markers_of_chains`); those beside the four are added,
            in a tokenizer that holds units already behind all that it has.

    Raises:
        UserError: the tokenizer already has units of another layout, or spells one of the new tokens itself.
    """
    sizes = tuple(int(size) for size in codebook_sizes)
    wanted = [form for form in dict.fromkeys(further) if form not in MARKERS]
    unknown = [form for form in wanted if form not in markers_of_chains()]
    assert not unknown, f"no chain writes the marker {', '.join(unknown)}"
    if has_speech(tokenizer):
        found = from_tokenizer(tokenizer)
        if found.codebook_sizes != sizes:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path or '(unnamed)'} already holds units of codebooks "
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
