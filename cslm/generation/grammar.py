"""The grammar of replies: speech is ``<sosp>``, whole frames of units, ``<eosp>``, and nothing else can stand there.

The last id alone says what may follow, so the grammar keeps no state: it works on any batch, with any search. It is
laid out from the vocabulary, and from a chain of modality where one is given. Without text there are frames alone, and
the end of the document.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from transformers import LogitsProcessor

from cslm.sequences.chains import Chain
from cslm.sequences.vocabulary import START_OF_SPEECH, SpeechVocabulary

Writes = Literal["anything", "text", "speech"]
"""What a reply is made of: text and speech in turn, text alone (ASR), or one stretch of speech (TTS)."""

_OUTSIDE, _OPENED, _FRAME_DONE, _TEXT_NEXT, _SPEECH_NEXT, _INSIDE_FRAME = 0, 1, 2, 3, 4, 5


class UnitGrammar(LogitsProcessor):
    """Forbids what cannot follow the last id.

    - Outside speech: text, control tokens and the markers but ``<eosp>``; no units.
    - After ``<sosp>``: a unit. Speech is never empty.
    - After a frame (one unit of each codebook): another frame or ``<eosp>``. The same frame never comes twice in a row,
      since training merged repeats (CSLM section 3.1); where they are not merged it may.
    - Never: ids that name nothing (the padding of the embedding).

    A chain adds to this: no markers but its own, no speech where none of its segments is spoken, and after the marker
    of a segment no other: its text, or the speech of one that is speech alone.

    A textless model writes frames, and after a whole one what ends the document; what follows that is a frame again.
    """

    def __init__(
        self,
        vocabulary: SpeechVocabulary | None,
        num_rows: int,
        writes: Writes = "anything",
        nameless: Collection[int] = (),
        chain: Chain | None = None,
    ) -> None:
        """Lay out the grammar once.

        Args:
            vocabulary: where units and markers stand; None for a model of text alone.
            num_rows: rows of the model's head, ``scores.shape[-1]``.
            writes: what the reply is made of.
            nameless: ids that name nothing; the head's rows at and after ``num_rows`` need no mention.
            chain: that replies are written in; None for any text and speech in turn.
        """
        assert vocabulary is not None or writes != "speech", "a model of text alone speaks nothing"
        self.merged = vocabulary is not None and vocabulary.merges_repeats
        self.first_unit_id = 0 if vocabulary is None else vocabulary.first_unit_id
        self.num_units = 0 if vocabulary is None else vocabulary.num_units
        self.state_after = _states(vocabulary, num_rows, chain)
        self.forbidden = _forbidden(vocabulary, num_rows, writes, nameless, chain)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``(batch, num_rows)`` with ``-inf`` where ``input_ids`` ``(batch, time)`` cannot go on."""
        if self.forbidden.device != scores.device:
            self.forbidden, self.state_after = self.forbidden.to(scores.device), self.state_after.to(scores.device)
        last = input_ids[:, -1]
        scores = scores.masked_fill(self.forbidden[self.state_after[last]], float("-inf"))
        if self.merged:
            unit = (last >= self.first_unit_id) & (last < self.first_unit_id + self.num_units)
            repeated = scores.gather(1, last[:, None]).masked_fill(unit[:, None], float("-inf"))
            scores = scores.scatter(1, last[:, None], repeated)
        return scores


def _states(vocabulary: SpeechVocabulary | None, num_rows: int, chain: Chain | None) -> torch.Tensor:
    """The state after each id, ``(num_rows,)``."""
    states = torch.full((num_rows,), _OUTSIDE, dtype=torch.long)
    if vocabulary is None:
        return states
    states[vocabulary.around_speech[0]] = _OPENED
    last = len(vocabulary.codebook_sizes) - 1
    for codebook, offset in enumerate(vocabulary.codebook_offsets.tolist()):
        state = _FRAME_DONE if codebook == last else _INSIDE_FRAME + codebook
        states[offset : offset + vocabulary.codebook_sizes[codebook]] = state
    for segment in () if chain is None else chain.segments:
        if segment.marker in vocabulary.markers:
            spoken = segment.modality == "speech" and not segment.before
            states[vocabulary.markers[segment.marker]] = _SPEECH_NEXT if spoken else _TEXT_NEXT
    return states


def _forbidden(
    vocabulary: SpeechVocabulary | None, num_rows: int, writes: Writes, nameless: Collection[int], chain: Chain | None
) -> torch.Tensor:
    """What may not follow in each state, ``(num_states, num_rows)``."""
    sizes = () if vocabulary is None else vocabulary.codebook_sizes
    allowed = torch.zeros(_INSIDE_FRAME + max(0, len(sizes) - 1), num_rows, dtype=torch.bool)
    allowed[_OUTSIDE] = writes != "speech"
    allowed[_OUTSIDE, [row for row in nameless if row < num_rows]] = False
    if vocabulary is None:
        return ~allowed
    _allow_frames(allowed, vocabulary)
    if vocabulary.is_textless:
        allowed[_OUTSIDE] = allowed[_OPENED]  # no id leads there
        return ~allowed
    if writes == "speech":
        allowed[_OUTSIDE, vocabulary.sosp] = True
    else:
        allowed[_OUTSIDE, vocabulary.first_unit_id : vocabulary.first_unit_id + vocabulary.num_units] = False
        allowed[_OUTSIDE, _markers_not_written(vocabulary, writes, chain)] = False
    allowed[_TEXT_NEXT] = allowed[_OUTSIDE]
    allowed[_TEXT_NEXT, list(vocabulary.marker_ids)] = False
    allowed[_SPEECH_NEXT, vocabulary.sosp] = True
    return ~allowed


def _allow_frames(allowed: torch.Tensor, vocabulary: SpeechVocabulary) -> None:
    """Inside speech, where ``allowed`` ``(num_states, num_rows)`` is all false, let frames and its end through."""
    sizes, offsets = vocabulary.codebook_sizes, vocabulary.codebook_offsets.tolist()
    for state in (_OPENED, _FRAME_DONE):
        allowed[state, offsets[0] : offsets[0] + sizes[0]] = True
    allowed[_FRAME_DONE, vocabulary.around_speech[1]] = True
    for codebook in range(1, len(sizes)):
        state = _INSIDE_FRAME + codebook - 1
        allowed[state, offsets[codebook] : offsets[codebook] + sizes[codebook]] = True


def _markers_not_written(vocabulary: SpeechVocabulary, writes: Writes, chain: Chain | None) -> list[int]:
    """The ids of the markers that never stand outside of speech; ``<eosp>`` is one."""
    if writes == "text":
        return list(vocabulary.marker_ids)
    if chain is None:
        return [vocabulary.eosp]
    written = (*chain.markers, *((START_OF_SPEECH,) if chain.speaks else ()))
    return [token_id for form, token_id in vocabulary.markers.items() if form not in written]
