"""What LAD learns by (arXiv 2603.07025, section 3; un-squared distances as in DiVA, which the paper builds on).

Clips bring what they are held against (:class:`~cslm.sequences.sequence.ClipWithMore`): ``transcript``, ids of their
text; ``teacher_state``, the last hidden state of the frozen model on it; ``state_place``, how many places behind the
last one of the clip the model stands there. A clip without one of them has it empty, and is no part of that mean.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import PreTrainedModel

from cslm.batches.packed_row import Clips
from cslm.errors import UserError
from cslm.model.objective import Term
from cslm.model.speech_prompt.heard_row import HeardRow
from cslm.model.speech_prompt.prompt_losses_config import (
    InputDistillationConfig,
    LanguageIdentificationConfig,
    OutputDistillationConfig,
    OutputKlConfig,
)

TRANSCRIPT, TEACHER_STATE, STATE_PLACE = "transcript", "teacher_state", "state_place"


class LanguageIdentification:
    """L_LID: the cross-entropy of the gate, over the clips of distillation whose language is known.

    Those of another task of the run are no part of it, known or not: what they are counted by is not theirs.
    """

    def __init__(self, settings: LanguageIdentificationConfig) -> None:
        self._weight = settings.weight

    def __call__(self, heard: HeardRow) -> Term:
        """See :class:`PromptLoss`.

        Raises:
            UserError: the connector has no gate that learns.
        """
        logits, languages = heard.connected.gate, heard.connected.languages
        if logits is None or languages is None:
            raise UserError(
                "losses.language_identification: the connector has no gate that learns: give "
                "connector.query_bank.gate a network, or leave the loss out"
            )
        found = None if heard.row.clips is None else _brought(heard.row.clips, STATE_PLACE)
        labels = torch.full_like(languages, -1) if found is None else torch.where(found[1] > 0, languages, -1)
        losses = cross_entropy(logits.float(), labels, ignore_index=-1, reduction="sum")
        return Term(losses + 0 * logits.sum(), "labelled_clips", self._weight)


class InputDistillation:
    """L_IN: the last T vectors against the embeddings of the T ids of the transcript, over these ids.

    What stands before them is free. A clip with fewer vectors than ids is left out.
    """

    def __init__(self, settings: InputDistillationConfig) -> None:
        self._weight = settings.weight

    def __call__(self, heard: HeardRow) -> Term:
        """See :class:`PromptLoss`."""
        vectors, clips = heard.connected.vectors, heard.row.clips
        total = 0 * vectors.sum().float()
        brought = None if clips is None else _brought(clips, TRANSCRIPT)
        if brought is not None:
            ids, lengths = brought
            lengths = torch.where(lengths <= heard.connected.lengths, lengths, 0)
            wanted = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            clip, place = wanted.nonzero(as_tuple=True)
            first = heard.connected.lengths - lengths
            said = heard.llm.get_input_embeddings()(ids[clip, place])
            total = total + _distances(vectors[clip, first[clip] + place], said).sum()
        return Term(total, "aligned_tokens", self._weight)


class OutputDistillation:
    """L_OUT: the model's last hidden state after the assistant's header, on speech against on the transcript."""

    def __init__(self, settings: OutputDistillationConfig) -> None:
        self._weight = settings.weight

    def __call__(self, heard: HeardRow) -> Term:
        """See :class:`PromptLoss`."""
        total = 0 * heard.read.hidden.sum().float()
        states = _states(heard)
        if states is not None:
            total = total + _distances(states.student, states.teacher).sum()
        return Term(total, "taught_clips", self._weight)


class OutputKl:
    """The divergence of the next token's distribution; the frozen head makes both from hidden states."""

    def __init__(self, settings: OutputKlConfig) -> None:
        self._weight, self._temperature = settings.weight, settings.temperature

    def __call__(self, heard: HeardRow) -> Term:
        """See :class:`PromptLoss`."""
        total = 0 * heard.read.hidden.sum().float()
        states = _states(heard)
        if states is not None:
            with torch.no_grad():
                teacher = next_logits(heard.llm, states.teacher)
            student, teacher = (
                log_softmax(logits / self._temperature, dim=-1)
                for logits in (next_logits(heard.llm, states.student), teacher)
            )
            total = total + self._temperature**2 * kl_div(student, teacher, log_target=True, reduction="sum")
        return Term(total, "taught_clips", self._weight)


class _States(NamedTuple):
    """Hidden states at the same place of the template, (clips, width): on speech, on the transcript."""

    student: Tensor
    teacher: Tensor


def _states(heard: HeardRow) -> _States | None:
    clips = heard.row.clips
    if clips is None or TEACHER_STATE not in clips.more:
        return None
    (teacher, lengths), (behind, _) = clips.more[TEACHER_STATE], clips.more[STATE_PLACE]
    taught = (lengths > 0).nonzero().flatten()
    if not len(taught):
        return None
    ends = torch.zeros_like(lengths).scatter_reduce(0, clips.owners, clips.places[:, 1], "amax", include_self=False)
    hidden = heard.read.hidden[ends[taught] - 1 + behind[taught, 0]]
    return _States(hidden, teacher[taught].to(hidden.dtype))


def _brought(clips: Clips, name: str) -> tuple[Tensor, Tensor] | None:
    """Values and lengths of what clips bring by a name; None where none of the row does."""
    found = clips.more.get(name)
    return None if found is None else (found.values, found.lengths)


def _distances(found: Tensor, wanted: Tensor) -> Tensor:
    """Un-squared L2 distances of rows, in float32."""
    return torch.linalg.vector_norm(found.float() - wanted.float(), dim=-1)


def next_logits(llm: PreTrainedModel, states: Tensor) -> Tensor:
    """What the head of a model makes of last hidden states, in float32, with what its kind does to logits."""
    head: Any = llm.get_output_embeddings()
    logits: Tensor = head(states).float()
    scale, divisor = getattr(llm.config, "logit_scale", None), getattr(llm.config, "logits_scaling", None)
    logits = logits * scale if scale is not None else logits / divisor if divisor is not None else logits
    cap = getattr(llm.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)
