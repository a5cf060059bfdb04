"""Hidden states of sequences, pooled: one vector a layer, the mean over the places that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from cslm.encoders.audio_batches import AudioBatches
from cslm.errors import UserError
from cslm.evaluation.likelihood import padded_batch
from cslm.files.progress import progress_bar


@torch.inference_mode()
def pooled_states(
    model: PreTrainedModel,
    sequences: Sequence[NDArray[Any]],
    places: Sequence[NDArray[np.bool_]],
    batch_tokens: int,
    description: str,
) -> NDArray[np.float32]:
    """The mean hidden state of each sequence after each layer: ``(num_sequences, num_layers + 1, width)``.

    Layer 0 is what the first layer reads, the embeddings; the last one is what the head reads.

    Args:
        model: any causal language model that shows its hidden states.
        sequences: ids ``(num_ids,)``.
        places: ``(num_ids,)`` each: which are pooled, at least one.
        batch_tokens: ids read together, padding included.
        description: of the progress bar.

    Raises:
        UserError: the model does not show its hidden states.
    """
    found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(sequences)
    groups = list(AudioBatches(batch_tokens).groups([len(ids) for ids in sequences], 1.0))
    for group in progress_bar(groups, len(groups), description):
        given = padded_batch(model, [sequences[index] for index in group])
        output = model(**given, use_cache=False, output_hidden_states=True, return_dict=True)
        layers = output.get("hidden_states")
        if layers is None:
            raise UserError(f"a model of the kind {model.config.model_type} does not show its hidden states")
        for row, index in enumerate(group):
            wanted = torch.from_numpy(np.flatnonzero(places[index])).to(model.device)
            means = [layer[row].index_select(0, wanted.to(layer.device)).float().mean(dim=0) for layer in layers]
            found[index] = torch.stack([mean.cpu() for mean in means]).numpy()
    return np.stack(found)
