"""Imitation by whole distributions: KL from what the frozen model predicts on the transcript to what it does on speech.

The teacher is run in the step, on the text of the same request and with the same reply, without gradient: nothing of
its distributions is kept, and nothing of them is cut off. (MTBI names no loss; Ultravox learns by this one, at the
temperature 2.)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from cslm.batches.packed_row import Clips, PackedRow
from cslm.model.lora import without_lora
from cslm.model.loss import read_row, row_arguments
from cslm.model.objective import Term
from cslm.model.speech_prompt.distillation import next_logits
from cslm.model.speech_prompt.heard_row import HeardRow
from cslm.model.speech_prompt.prompt_losses_config import ImitationKlConfig
from cslm.sequences.audio_imitation import IMITATED_TOKENS, TEACHER_IDS, TEACHER_PLACES

_TOKENS_AT_ONCE = 256


class ImitationKl:
    """The divergence at each token of an imitated reply, and at its end; the mean over these tokens."""

    def __init__(self, settings: ImitationKlConfig) -> None:
        self._weight, self._temperature = settings.weight, settings.temperature

    def __call__(self, heard: HeardRow) -> Term:
        """See :class:`PromptLoss`. Clips that bring no text for a teacher are no part of it."""
        total = 0 * heard.read.hidden.sum().float()
        clips = heard.row.clips
        if clips is not None and TEACHER_IDS in clips.more:
            taught = _taught(heard.row, clips)
            teacher = _teacher_states(heard.llm, clips, taught)
            student, weights = heard.read.hidden[taught.positions], taught.weights
            for part in torch.arange(len(weights), device=weights.device).split(_TOKENS_AT_ONCE):
                given = heard.llm, student[part], teacher[part], weights[part], self._temperature
                total = total + checkpoint(_divergence, *given, use_reentrant=False)
        return Term(total, IMITATED_TOKENS, self._weight)


class _Taught(NamedTuple):
    """The tokens that both predict, in the order of clips."""

    positions: Tensor
    """(tokens,) where the row predicts them"""
    weights: Tensor
    """(tokens,) how often each counts"""
    clips: Tensor
    """(tokens,) of which clip's document it is one"""
    places: Tensor
    """(tokens,) where the teacher's text predicts it"""


def _taught(row: PackedRow, clips: Clips) -> _Taught:
    ends = torch.tensor(row.boundaries[1:], device=row.target_positions.device)
    document_of_targets = torch.searchsorted(ends, row.target_positions, right=True)
    found = list(
        _by_clip(clips, document_of_targets, torch.searchsorted(ends, clips.places[:, 0].contiguous(), right=True))
    )
    kinds = [torch.cat([part[kind] for part in found]) if found else row.target_positions[:0] for kind in range(3)]
    targets, of_clips, places = kinds
    return _Taught(row.target_positions[targets], row.target_weights[targets], of_clips, places)


def _by_clip(
    clips: Clips, document_of_targets: Tensor, document_of_spans: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each clip with a teacher its targets, itself as often, and the teacher's places."""
    places, counts = clips.more[TEACHER_PLACES]
    for clip, count in enumerate(counts.tolist()):
        if not count:
            continue
        document = document_of_spans[(clips.owners == clip).nonzero()[0, 0]]
        targets = (document_of_targets == document).nonzero().flatten()
        assert len(targets) == count, "the teacher's reply is another"
        yield targets, torch.full_like(targets, clip), places[clip, :count]


@torch.no_grad()
def _teacher_states(llm: PreTrainedModel, clips: Clips, taught: _Taught) -> Tensor:
    """Last hidden states of the frozen model on the texts, one behind the other, where it predicts what is taught."""
    ids, lengths = clips.more[TEACHER_IDS]
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    there = places < lengths[:, None]
    begins = lengths.cumsum(0) - lengths
    counts = [length for length in lengths.tolist() if length]
    nothing = taught.positions[:0]
    row = PackedRow(
        input_ids=ids[there][None].long(),
        position_ids=places[there][None],
        boundaries=tuple(accumulate(counts, initial=0)),
        target_positions=begins[taught.clips] + taught.places,
        target_ids=nothing,
        target_weights=nothing,
        target_groups=nothing,
    )
    with without_lora(llm):
        read = read_row(llm, {"input_ids": row.input_ids, **row_arguments(llm, row)}, row.target_positions)
    return read.hidden[row.target_positions]


def _divergence(llm: PreTrainedModel, student: Tensor, teacher: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """The weighted sum of KL(teacher, student) of tokens, times the square of the temperature."""
    with torch.no_grad():
        wanted = log_softmax(next_logits(llm, teacher) / temperature, dim=-1)
    found = log_softmax(next_logits(llm, student) / temperature, dim=-1)
    return temperature**2 * (wanted.exp() * (wanted - found)).sum(dim=-1) @ weights
