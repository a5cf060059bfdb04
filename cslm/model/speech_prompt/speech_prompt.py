"""A frozen encoder, a connector, a frozen language model: what the model reads where a row holds clips."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from cslm.batches.packed_row import Clips
from cslm.encoders.encoder import Encoder
from cslm.model.speech_prompt.connector import Connected, Connector


class Frames(NamedTuple):
    """What an encoder has made of clips, without gradient."""

    values: Tensor
    """(clips, most, dims), zeros after the end of each"""
    lengths: Tensor
    """int64 (clips,)"""


class SpeechPrompt(nn.Module):
    """Vectors in the places of clips, in front of a language model.

    The encoder is no part of the module: what shards, casts, saves or counts parameters never sees it.
    """

    def __init__(
        self, encoder: Encoder | None, connector: Connector, llm: PreTrainedModel, languages: tuple[str, ...] = ()
    ) -> None:
        """Freeze the language model, but for what LoRA has put into it, before or after.

        Args:
            encoder: None where clips hold its frames already.
            languages: tags of those that the connector tells apart, in the order of their numbers.
        """
        super().__init__()
        self.encoder, self.connector, self.llm = encoder, connector, llm
        self._numbers = {language: number for number, language in enumerate(languages)}

    def frames(self, clips: Clips) -> Frames:
        """Frames of the encoder; clips of three dimensions hold them already."""
        if clips.values.dim() == 3:
            return Frames(clips.values, clips.lengths)
        assert self.encoder is not None, "waveforms, and no encoder"
        waveforms = [
            values[:length].cpu().numpy() for values, length in zip(clips.values, clips.lengths.tolist(), strict=True)
        ]
        found = dict(self.encoder(waveforms))
        rows = [found[index].to(clips.values.device) for index in range(len(waveforms))]
        lengths = torch.tensor([len(row) for row in rows], device=clips.values.device)
        return Frames(pad_sequence(rows, batch_first=True).clone(), lengths)  # cloned: gradients need no inference mode

    def connect(self, clips: Clips) -> Connected:
        """Vectors of clips."""
        values, lengths = self.frames(clips)
        numbers = [self._numbers.get(language, -1) for language in clips.languages]
        languages = torch.tensor(numbers, device=lengths.device)
        connected: Connected = self.connector(values.to(self._dtype), lengths, languages)
        return connected

    def connect_nothing(self, device: torch.device, dims: int) -> Connected:
        """Vectors of one silent clip, for a row without any: a connector takes part in every row, if with nothing.

        So a process whose row has no clip runs backward through the same layers as the others.
        """
        frames = torch.zeros(1, 1, dims, dtype=self._dtype, device=device)
        ones = torch.ones(1, dtype=torch.int64, device=device)
        connected: Connected = self.connector(frames, ones, ones - 1)  # some language: a control wants to know it
        return connected

    def embeddings(self, ids: Tensor, clips: Clips | None, connected: Connected) -> Tensor:
        """What the language model reads (1, tokens, width): text as it is, vectors in the places of clips.

        Args:
            ids: (1, tokens); those in the places of clips need have no row.
            connected: vectors of the clips, or of nothing where there are none.
        """
        taken = None if clips is None else _taken(clips)
        known = ids if taken is None else ids.index_fill(1, taken.places, 0)
        embedded: Tensor = self.llm.get_input_embeddings()(known)
        if taken is None:
            return embedded + 0 * connected.vectors.sum().to(embedded.dtype)
        assert bool((taken.vectors < connected.lengths[taken.clips]).all()), "a span is longer than its clip"
        vectors = connected.vectors[taken.clips, taken.vectors].to(embedded.dtype)
        return embedded.index_copy(1, taken.places, vectors[None])

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.connector.parameters()).dtype


class _Taken(NamedTuple):
    """Which vector goes where: int64 (places,) each."""

    places: Tensor
    clips: Tensor
    vectors: Tensor


def _taken(clips: Clips) -> _Taken:
    counts = clips.places[:, 1] - clips.places[:, 0]
    spans = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    offsets = torch.arange(len(spans), device=counts.device) - (counts.cumsum(0) - counts)[spans]
    return _Taken(clips.places[spans, 0] + offsets, clips.owners[spans], clips.firsts[spans] + offsets)


def trained_names(prompt: SpeechPrompt) -> list[str]:
    """Names of the tensors of a speech prompt that a checkpoint holds: the connector's, and LoRA."""
    learning = {name for name, parameter in prompt.named_parameters() if parameter.requires_grad}
    return sorted(learning | {name for name in prompt.state_dict() if name.startswith("connector.")})


def freeze(llm: PreTrainedModel) -> PreTrainedModel:
    """No parameter learns, and no dropout is left, in place: what is frozen computes what it always does."""
    for module in llm.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    return llm.requires_grad_(False).eval()


def embedding_scale(llm: PreTrainedModel) -> float:
    """Root mean square of the embeddings of a language model."""
    embedding = llm.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    return float(embedding.weight.detach().float().square().mean().sqrt())
