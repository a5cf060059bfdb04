"""What a step of ``train-prompt`` needs: memory of a micro-batch, and operations, found without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cslm.encoders.encoder_config import EncoderConfig
from cslm.encoders.encoders import source_of
from cslm.encoders.pretrained_model import pretrained_model
from cslm.encoders.runtime import META
from cslm.model.activation_checkpointing import checkpoint_activations
from cslm.model.loss import read_row, row_arguments, token_losses
from cslm.model.speech_prompt.connector import Connected, Connector
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt
from cslm.planning.activation_memory import (
    ActivationMemory,
    AllChosen,
    drop_gradients,
    fill_without_contents,
    measured_run,
    row_without_contents,
)

_WINDOW_SEC = 30


class PlannedRow(NamedTuple):
    """A full row of documents with one clip each."""

    lengths: Sequence[int]
    """tokens of each document"""
    num_targets: int
    """trained tokens of them all"""
    num_clips: int
    num_frames: int
    """of the longest clip, to which the others are padded"""


def prompt_memory(prompt: SpeechPrompt, row: PlannedRow, dims: int, checkpointing: bool) -> ActivationMemory | None:
    """The memory of a micro-batch beside weights and gradients: frames, connector, language model and its head.

    Args:
        prompt: on the device ``meta``; it is used up.
        row: what is in it.
        dims: size of a frame.
        checkpointing: of the activations of the language model.

    Returns:
        None for parts that cannot run without contents.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        fill_without_contents(prompt)
        if checkpointing:
            checkpoint_activations(prompt.llm)
        drop_gradients(prompt)
        try:
            return measured_run(prompt.llm.get_decoder(), lambda: _loss(prompt, row, dims))
        except (RuntimeError, NotImplementedError):
            return None


def _loss(prompt: SpeechPrompt, row: PlannedRow, dims: int) -> Tensor:
    """As :class:`~cslm.model.speech_prompt.prompt_objective.PromptObjective`; the places of clips are made up."""
    llm: Any = prompt.llm
    packed = row_without_contents(row.lengths, row.num_targets)
    connected = _connected(prompt.connector, row.num_clips, row.num_frames, dims)
    vectors = connected.vectors.flatten(0, 1)[: packed.num_slots]
    embedded = llm.get_input_embeddings()(packed.input_ids)
    places = torch.arange(len(vectors))
    embeddings = embedded.index_copy(1, places, vectors[None].to(embedded.dtype))
    read = read_row(llm, {"inputs_embeds": embeddings, **row_arguments(llm, packed)}, packed.target_positions)
    total = token_losses(llm, read, packed).sum + 0 * read.hidden.sum().float()
    return total if connected.gate is None else total + 0 * connected.gate.sum().float()


def _connected(connector: Connector, num_clips: int, num_frames: int, dims: int) -> Connected:
    dtype = next(connector.parameters()).dtype
    frames = torch.zeros(num_clips, num_frames, dims)  # the encoder gives float32
    lengths = torch.full((num_clips,), num_frames)
    found: Connected = connector(frames.to(dtype), lengths)
    return found


def connector_flops(connector: Connector, num_frames: int, dims: int) -> int | None:
    """Operations of a connector, forward, on one clip; None for one that cannot run without contents.

    Args:
        connector: on the device ``meta``; it is used up.
        num_frames: of the clip.
        dims: size of a frame.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        fill_without_contents(connector.requires_grad_(False))
        try:
            with FlopCounterMode(display=False) as counter, AllChosen(), sdpa_kernel(SDPBackend.MATH):
                _connected(connector, 1, num_frames, dims)
        except (RuntimeError, NotImplementedError):
            return None
    return int(counter.get_total_flops())


def encoder_flops_per_sec(config: EncoderConfig, rate_hz: int) -> float | None:
    """Operations of an encoder on a second of a window of 30 seconds; None where they are not known (fairseq2)."""
    if config.fairseq2 is not None:
        return None
    source, revision = source_of(config)
    model, _ = pretrained_model(source, revision, "encoder", META)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        if config.ssl is None:
            shape = model.config
            model.encoder(torch.zeros(1, shape.num_mel_bins, 2 * shape.max_source_positions, device=META))
        else:
            model.encoder.layers = nn.ModuleList(model.encoder.layers[: config.ssl.layer])
            _hear(model, rate_hz)
    return counter.get_total_flops() / _WINDOW_SEC


def _hear(model: Any, rate_hz: int) -> None:
    if hasattr(model, "feature_extractor"):
        model(torch.zeros(1, _WINDOW_SEC * rate_hz, device=META))
    else:  # filter banks, two frames of ten milliseconds side by side
        model(torch.zeros(1, _WINDOW_SEC * 50, model.config.feature_projection_input_dim, device=META))
