"""The layers of a Whisper's decoder as a Q-Former: queries in the place of words, attention to frames by true length.

Transformers' own ``WhisperDecoder`` hands no mask to its cross-attention; here its layers are gone through one by one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from cslm.encoders.pretrained_model import check_whole, pretrained_config, pretrained_model
from cslm.errors import UserError
from cslm.model.speech_prompt.connector import valid_frames
from cslm.model.speech_prompt.query_bank_config import QFormerShapeConfig

_WHERE = "connector.query_bank.whisper"


class WhisperQFormer(nn.Module):
    """Queries through the layers of a decoder; its learnt positions are kept, its words are left behind."""

    def __init__(self, decoder: WhisperDecoder, positions: int) -> None:
        """Take the layers, and the first ``positions`` of its positions."""
        super().__init__()
        self.layers, self.norm = decoder.layers, decoder.layer_norm
        self.positions = nn.Parameter(decoder.embed_positions.weight.detach()[:positions].clone())

    def forward(self, queries: Tensor, frames: Tensor, lengths: Tensor, causal: bool) -> Tensor:
        """Queries (batch, queries, width) to vectors of that shape, normed.

        Args:
            frames: (batch, frames, width), finite behind the end of each.
            lengths: int64 (batch,): frames of each.
            causal: whether a query sees none of those behind it.
        """
        count = queries.shape[1]
        blocks = -(-count // len(self.positions))
        hidden = queries + self.positions.repeat(blocks, 1)[:count]
        real = valid_frames(lengths, frames.shape[1])
        lowest = torch.finfo(hidden.dtype).min
        cross = torch.zeros_like(real, dtype=hidden.dtype).masked_fill(~real, lowest)[:, None, None]
        own = hidden.new_zeros(count, count)
        if causal:
            own = own.masked_fill(torch.ones_like(own, dtype=torch.bool).triu(1), lowest)
        own = own.expand(len(queries), 1, count, count)
        cross = cross.expand(-1, 1, count, -1)
        for layer in self.layers:
            hidden = _through(layer, hidden, own, frames, cross)
        normed: Tensor = self.norm(hidden)
        return normed


def _through(layer: Any, hidden: Tensor, own: Tensor, frames: Tensor, cross: Tensor) -> Tensor:
    """One layer; what its own ``forward`` takes differs between versions of transformers, its parts do not."""
    drop = nn.functional.dropout
    found = layer.self_attn(hidden_states=layer.self_attn_layer_norm(hidden), attention_mask=own)[0]
    hidden = hidden + drop(found, layer.dropout, layer.training)
    normed = layer.encoder_attn_layer_norm(hidden)
    found = layer.encoder_attn(hidden_states=normed, key_value_states=frames, attention_mask=cross)[0]
    hidden = hidden + drop(found, layer.dropout, layer.training)
    inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
    inner = layer.fc2(drop(inner, layer.activation_dropout, layer.training))
    result: Tensor = hidden + drop(inner, layer.dropout, layer.training)
    return result


def shape_of(source: str, revision: str | None, layers: int | None = None) -> QFormerShapeConfig:
    """The sizes of a Whisper's decoder, with all of its layers or its first ones.

    Raises:
        UserError: there is no such model, it is no Whisper, or it has fewer layers.
    """
    config = pretrained_config(source, revision, ["whisper"], _WHERE)
    if layers is not None and layers > config.decoder_layers:
        raise UserError(
            f"connector.query_bank.layers is {layers}, and the decoder of {source} has {config.decoder_layers}"
        )
    return QFormerShapeConfig(
        width=config.d_model,
        layers=layers or config.decoder_layers,
        heads=config.decoder_attention_heads,
        inner=config.decoder_ffn_dim,
        positions=config.max_target_positions,
        activation=config.activation_function,
    )


def pretrained_decoder(source: str, revision: str | None, layers: int | None = None) -> WhisperDecoder:
    """The decoder of a Whisper, with all of its layers or its first ones, to be trained on.

    Raises:
        UserError: weights that cannot be read, or are not all there.
    """
    model, missing = pretrained_model(source, revision, _WHERE)
    used = [f"decoder.{name}" for name, _ in model.decoder.named_parameters() if not name.startswith("embed_tokens.")]
    check_whole(used, missing, source, _WHERE)
    decoder: WhisperDecoder = model.decoder
    decoder.layers = decoder.layers[:layers]
    return decoder.train().requires_grad_(True)


def new_decoder(shape: QFormerShapeConfig) -> WhisperDecoder:
    """A decoder with new weights, drawn from torch's generator."""
    said = dataclasses.asdict(shape)
    return WhisperDecoder(
        WhisperConfig(
            vocab_size=1,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=0,
            d_model=said["width"],
            decoder_layers=said["layers"],
            decoder_attention_heads=said["heads"],
            decoder_ffn_dim=said["inner"],
            max_target_positions=said["positions"],
            activation_function=said["activation"],
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
        )
    )
