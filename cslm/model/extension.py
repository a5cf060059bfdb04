"""Rows for units and markers in the embedding and the head of a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cslm.errors import UserError

CODEC_CENTROIDS = "codec_centroids"
_MAX_SAMPLED_ROWS = 32_768


class Vocabulary(Protocol):
    """What the extension needs of a speech vocabulary."""

    @property
    def num_text_ids(self) -> int:
        """ids below this are text; the rows from here on are new"""
        ...

    @property
    def size(self) -> int:
        """ids that name something"""
        ...

    @property
    def padded_size(self) -> int:
        """rows of the extended model"""
        ...

    @property
    def first_unit_id(self) -> int:
        """the row of unit 0 of the first codebook; the other units follow"""
        ...

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """units of each codebook"""
        ...


def extend_model(
    model: PreTrainedModel,
    vocabulary: Vocabulary,
    initialisation: str = "mean_and_covariance",
    seed: int = 0,
    untie_head: bool = False,
    centroids: Sequence[Tensor] = (),
) -> PreTrainedModel:
    """Give ``model`` ``vocabulary.padded_size`` rows, in place; text rows keep their values, bit for bit.

    Rows from ``vocabulary.num_text_ids`` on are drawn anew, those that the backbone had as padding included. A model
    whose head is tied stays tied, or with ``untie_head`` gets a head of its own, with the same text rows. Do this
    before sharding the model (ZeRO-3).

    Args:
        centroids: for ``codec_centroids``: (units, dims) of each codebook, in the space that the codec compares in.

    Raises:
        UserError: an unknown ``initialisation``, or a backbone with fewer rows than its tokenizer has ids.
    """
    if initialisation not in INITIALISATIONS:
        raise UserError(f"initialisation is {initialisation!r}: choose one of {', '.join(INITIALISATIONS)}")
    num_rows = num_embeddings(model)
    if num_rows < vocabulary.num_text_ids:
        raise UserError(f"the backbone has {num_rows} rows, its text tokenizer {vocabulary.num_text_ids} ids")
    if num_rows != vocabulary.padded_size:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.resize_token_embeddings(vocabulary.padded_size, mean_resizing=False)
    if untie_head:
        _untie_head(model)
    generator = torch.Generator().manual_seed(seed)
    for weight in embedding_weights(model):
        _fill_new_rows(weight, vocabulary.num_text_ids, INITIALISATIONS[initialisation], generator)
        if initialisation == CODEC_CENTROIDS:
            _place_by_centroids(weight, vocabulary, centroids, generator)
    return model


def add_marker_rows(model: PreTrainedModel, vocabulary: Vocabulary, seed: int = 0) -> PreTrainedModel:
    """Rows for markers that join a model which has units already, in place; where it has rows to spare, nothing.

    New rows are drawn as the text rows are spread; a row that was padding keeps what it has.
    """
    num_rows = num_embeddings(model)
    if num_rows >= vocabulary.size:
        return model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.resize_token_embeddings(vocabulary.padded_size, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    for weight in embedding_weights(model):
        _fill_new_rows(weight, num_rows, _mean_and_covariance, generator)
    return model


def num_embeddings(model: PreTrainedModel) -> int:
    """Rows of the input embedding, sharded or not."""
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    return embedding.num_embeddings


def _untie_head(model: PreTrainedModel) -> None:
    """Give the head a weight of its own, if it shares that of the embedding."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight is embedding.weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False
        if hasattr(model, "all_tied_weights_keys"):  # transformers 5 reads it when it saves
            model.all_tied_weights_keys = {}


def embedding_weights(model: PreTrainedModel) -> list[Tensor]:
    """What has a row for each id: the weight of the embedding, and weight and bias of a head that is not tied."""
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    weights: list[Tensor] = [embedding.weight]
    head = model.get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight is not weights[0]:
        weights.append(head.weight)
        if head.bias is not None:
            weights.append(head.bias)
    return weights


@torch.no_grad()
def _fill_new_rows(weight: Tensor, num_text: int, draw: Callable[..., Tensor], generator: torch.Generator) -> None:
    text = weight[:num_text].float().cpu()
    if weight.dim() == 1:
        weight[num_text:] = text.mean()
    else:
        weight[num_text:] = draw(_sampled(text), weight.shape[0] - num_text, generator).to(weight)


def _sampled(text: Tensor) -> Tensor:
    return text[:: -(-len(text) // _MAX_SAMPLED_ROWS)]


@torch.no_grad()
def _place_by_centroids(
    weight: Tensor, vocabulary: Vocabulary, centroids: Sequence[Tensor], generator: torch.Generator
) -> None:
    """Overwrite the rows of units, a codebook at a time; markers and padding stay as they were drawn."""
    sizes = tuple(len(table) for table in centroids)
    assert sizes == tuple(vocabulary.codebook_sizes), f"centroids of {sizes} units for {vocabulary.codebook_sizes}"
    if weight.dim() == 1:
        return
    text, start = _sampled(weight[: vocabulary.num_text_ids].float().cpu()), vocabulary.first_unit_id
    for table in centroids:
        weight[start : start + len(table)] = _projected(text, table.float(), generator).to(weight)
        start += len(table)


def _projected(text: Tensor, centroids: Tensor, generator: torch.Generator) -> Tensor:
    """Rows (units, width) as far from one another as their ``centroids`` (units, dims) are, up to a random projection.

    Centroids are centred, scaled by one number (their distances are the codec's), projected by a Gaussian matrix and
    given the covariance of the text rows. Mean and standard deviation of each column are then those of the text.
    """
    centred = centroids - centroids.mean(dim=0)
    scaled = centred / centred.square().mean().sqrt().clamp(min=1e-12)
    projection = torch.randn(centroids.shape[1], text.shape[1], generator=generator) / centroids.shape[1] ** 0.5
    rows = scaled @ projection @ _factor(text).T
    return text.mean(dim=0) + (rows - rows.mean(dim=0)) * (text.std(dim=0) / rows.std(dim=0).clamp(min=1e-12))


def _mean_and_covariance(text: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
    """Draw rows (num_rows, width) from the normal distribution that the text rows (num_text, width) have."""
    return text.mean(dim=0) + torch.randn(num_rows, text.shape[1], generator=generator) @ _factor(text).T


def _factor(text: Tensor) -> Tensor:
    """(width, width) ``L`` with ``L L^T`` the covariance of the text rows."""
    centred = (text - text.mean(dim=0)).double()
    covariance = centred.T @ centred / max(1, len(text) - 1)
    covariance.diagonal().add_(1e-6 * covariance.diagonal().mean() + 1e-12)
    return torch.linalg.cholesky(covariance).float()


def _hugging_face(text: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
    """As ``resize_token_embeddings`` of transformers draws by default: with a thousand-millionth of the covariance."""
    mean = text.mean(dim=0)
    return mean + 1e-9**0.5 * (_mean_and_covariance(text, num_rows, generator) - mean)


def _mean(text: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
    """The mean text row plus a thousandth of the rows' standard deviation, so that no two rows are equal."""
    noise = torch.randn(num_rows, text.shape[1], generator=generator)
    return text.mean(dim=0) + 1e-3 * text.std(dim=0) * noise


def _normal(text: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
    """Independent normal values with the standard deviation of all text rows, as a model from scratch starts."""
    return text.std() * torch.randn(num_rows, text.shape[1], generator=generator)


INITIALISATIONS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "mean_and_covariance": _mean_and_covariance,
    "mean": _mean,
    "normal": _normal,
    "hugging_face": _hugging_face,
    CODEC_CENTROIDS: _mean_and_covariance,  # what is no unit
}
