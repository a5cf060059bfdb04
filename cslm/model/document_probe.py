"""Whether a backbone keeps the documents of a packed row apart, and sees no token before its turn: measured.

Which layers carry something along a row cannot be listed: there are new ones with every release. So a few tokens run
through the model as training will run it. The gradient of one document's loss by the embeddings of the document before
it is exactly 0 where they are apart, in any attention and precision; and its loss is what it is alone, where positions
count from 0 again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cslm.batches.packed_row import PackedRow
from cslm.errors import UserError
from cslm.model.document_attention import DOCUMENT_ATTENTION
from cslm.model.extension import num_embeddings
from cslm.model.loss import LanguageModelLoss

_BEFORE, _LENGTH, _LEARNT = 9, 7, 4
"""tokens of the document before, of the one that is looked at, and those of it that are predicted first"""
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_TOLERANCE_OF_HALVES = 3e-2
_ATTENTIONS = (DOCUMENT_ATTENTION, "sdpa", "eager")
"""what runs wherever there is a CPU"""
_REFUSALS = (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError, ImportError)
"""what models of others raise where they cannot take a packed row"""


class DocumentProbe(NamedTuple):
    """What a row of two documents shows."""

    leak: float
    """largest gradient that reaches the document before; 0 where they are apart"""
    shift: float
    """median change of a loss by the document before, as a share of it; above the tolerance positions are ignored"""
    ahead: float
    """largest gradient that reaches a token which comes later; 0 in a causal model"""
    tolerance: float
    """of the shift, by the precision of the weights"""

    @property
    def is_apart(self) -> bool:
        """Whether a document computes in a row what it computes alone."""
        return self.leak == 0 and self.shift <= self.tolerance

    @property
    def is_causal(self) -> bool:
        """Whether no token sees those after it."""
        return self.ahead == 0


def check_documents(model: PreTrainedModel, packed: bool) -> str | None:
    """Make sure that documents learn as if each were alone; random state and gradients are left as they are.

    Args:
        model: before it is sharded, with the layers that training uses.
        packed: whether rows hold several documents.

    Returns:
        A line for the user where it cannot be measured: an attention that this device has not.

    Raises:
        UserError: documents of a row see one another, a token sees those after it, or the model cannot take a row.
    """
    attention = _attention(model)
    name = f"the backbone ({model.config.model_type}) with model.attention {attention}"
    try:
        probe = probe_documents(model)
    except UserError:
        raise
    except _REFUSALS as error:
        if attention not in _ATTENTIONS and model.device.type == "cpu":
            return f"{name} cannot run on a CPU: whether documents of a row stay apart was not measured"
        told = next(iter(str(error).splitlines()), "")
        advice = _advice(model, packed)
        raise UserError(f"{name} cannot read a packed row ({type(error).__name__}: {told}): {advice}") from error
    if not probe.is_causal:
        advice = _advice(model, packed)
        raise UserError(f"{name} lets a token see those after it, so that nothing would be learnt: {advice}")
    if packed and not probe.is_apart:
        how = f"a gradient of {probe.leak:.1e}" if probe.leak else f"a loss that changes by {probe.shift:.1e}"
        instead = "".join(f", or model.attention {other}" for other in _working(model, packed)[:1])
        raise UserError(
            f"{name} lets the documents of a row see one another (measured: {how}): set training.data.pack false, "
            f"which puts one document into each row{instead}"
        )
    return None


def probe_documents(model: PreTrainedModel) -> DocumentProbe:
    """Run a few tokens through ``model`` and look at gradients and losses. What it raises is the model's own."""
    module = LanguageModelLoss(model, _LENGTH, "torch")
    ids = _ids(model)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), _parameters_at_rest(model):
        gradient = _gradient(module, _row(ids, (_BEFORE, _LENGTH), _LEARNT))
        losses = [_losses(module, row) for row in (_row(ids, (_BEFORE, _LENGTH)), _row(ids[_BEFORE:], (_LENGTH,)))]
    shift = (losses[0] - losses[1]).abs() / losses[1].abs().clamp(min=1.0)
    tolerance = _TOLERANCE.get(next(model.parameters()).dtype, _TOLERANCE_OF_HALVES)
    return DocumentProbe(
        leak=float(gradient[:_BEFORE].max()),
        shift=float(shift.median()),  # of a mixture of experts single tokens may be rounded to another one
        ahead=float(gradient[_BEFORE + _LEARNT :].max()),
        tolerance=tolerance,
    )


def _attention(model: PreTrainedModel) -> str:
    return str(model.config._attn_implementation)


def _working(model: PreTrainedModel, packed: bool) -> list[str]:
    """Other attentions under which the model does as it should."""
    own, found = _attention(model), []
    for other in _ATTENTIONS:
        if other == own:
            continue
        with contextlib.suppress(*_REFUSALS):
            _set_attention(model, other)
            probe = probe_documents(model)
            if _attention(model) == other and probe.is_causal and (probe.is_apart or not packed):
                found.append(other)
    with contextlib.suppress(*_REFUSALS):
        _set_attention(model, own)
    return found


def _set_attention(model: PreTrainedModel, attention: str) -> None:
    """Another attention; a model that transformers does not change still reads which one its own code is to be."""
    model.set_attn_implementation(attention)
    if _attention(model) != attention and attention != "sdpa":  # which not every model has
        model.config._attn_implementation = attention


def _advice(model: PreTrainedModel, packed: bool) -> str:
    """What to set in place of an attention under which nothing can be learnt."""
    if working := _working(model, packed):
        return f"set model.attention {' or '.join(working)}"
    if packed and (working := _working(model, packed=False)):
        return f"set model.attention {' or '.join(working)} and training.data.pack false"
    return "choose another base"


def _ids(model: PreTrainedModel) -> Tensor:
    """Ids (tokens,) of two documents, none of them padding."""
    num_ids, padding = num_embeddings(model), getattr(model.config, "pad_token_id", None)
    ids = torch.randint(num_ids, (_BEFORE + _LENGTH,), generator=torch.Generator().manual_seed(0))
    return torch.where(ids == (-1 if padding is None else padding), (ids + 1) % num_ids, ids).to(model.device)


def _row(ids: Tensor, lengths: tuple[int, ...], learnt: int = _LENGTH) -> PackedRow:
    """A row whose last document learns its first tokens, each in a group of its own."""
    start, total = sum(lengths[:-1]), sum(lengths)
    targets = torch.arange(start + 1, min(total, start + learnt + 1), device=ids.device)
    return PackedRow(
        input_ids=ids[None],
        position_ids=torch.cat([torch.arange(length, device=ids.device) for length in lengths])[None],
        boundaries=(0, *(sum(lengths[: place + 1]) for place in range(len(lengths)))),
        target_positions=targets - 1,
        target_ids=ids[targets],
        target_weights=torch.ones(len(targets), device=ids.device),
        target_groups=targets - start - 1,
    )


def _gradient(module: LanguageModelLoss, row: PackedRow) -> Tensor:
    """(tokens,) the largest part of the gradient by the embedding of each token; no parameter gets one."""
    kept: list[Tensor] = []

    def keep(embedding: Any, inputs: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()  # layers may write into what they are given

    hook = module.model.get_input_embeddings().register_forward_hook(keep)
    try:
        with torch.enable_grad():
            gradients = torch.autograd.grad(module(row).weighted_sum, kept)
    finally:
        hook.remove()
    return torch.stack([it.abs().amax(dim=-1).flatten() for it in gradients]).amax(dim=0)


@torch.no_grad()
def _losses(module: LanguageModelLoss, row: PackedRow) -> Tensor:
    """(learnt,) the loss of each token, without dropout."""
    were = {part: part.training for part in module.modules()}
    module.eval()
    try:
        return module(row).report.sums[: row.num_targets]
    finally:
        for part, was in were.items():
            part.training = was


@contextlib.contextmanager
def _parameters_at_rest(model: PreTrainedModel) -> Iterator[None]:
    """No graph of the weights: the embedding's output alone is differentiated."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
