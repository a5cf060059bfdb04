"""Rows for units and markers in the embedding and the head of a language model, behind those of text or instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

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
    _check_rows(model, initialisation, vocabulary.num_text_ids)
    if num_embeddings(model) != vocabulary.padded_size:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.resize_token_embeddings(vocabulary.padded_size, mean_resizing=False)
    if untie_head:
        _untie_head(model)
    generator = torch.Generator().manual_seed(seed)
    for weight in embedding_weights(model):
        text = weight[: vocabulary.num_text_ids].detach().float().cpu()
        _fill_rows(weight, vocabulary.num_text_ids, text, INITIALISATIONS[initialisation], generator)
        if initialisation == CODEC_CENTROIDS:
            _place_by_centroids(weight, text, vocabulary, centroids, generator)
    return model


def replace_text_rows(
    model: PreTrainedModel,
    vocabulary: Vocabulary,
    num_text_ids: int,
    initialisation: str = "mean_and_covariance",
    seed: int = 0,
    untie_head: bool = False,
    centroids: Sequence[Tensor] = (),
) -> PreTrainedModel:
    """Give ``model`` the ``vocabulary.padded_size`` rows of a textless vocabulary instead of its own, in place.

    All else keeps its values, bit for bit (cross-lingual interleaving, arXiv 2512.01865; textless warm starts, arXiv
    2305.13009). New rows are drawn from the ``num_text_ids`` rows of text that leave, as :func:`extend_model` draws
    them; :func:`end_documents_with` says what ids mean.

    Raises:
        UserError: as :func:`extend_model`.
    """
    _check_rows(model, initialisation, num_text_ids)
    if untie_head:
        _untie_head(model)
    text = [_sampled(weight.detach()[:num_text_ids]).float().cpu().clone() for weight in embedding_weights(model)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.resize_token_embeddings(vocabulary.padded_size, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    for weight, rows in zip(embedding_weights(model), text, strict=True):
        _fill_rows(weight, 0, rows, INITIALISATIONS[initialisation], generator)
        if initialisation == CODEC_CENTROIDS:
            _place_by_centroids(weight, rows, vocabulary, centroids, generator)
    return model


def end_documents_with(model: PreTrainedModel, end_of_document: int) -> PreTrainedModel:
    """Make the id that ends a document the only one of a textless model with a meaning of its own, in place.

    No row is one of padding any more, which would not learn, and what generation did with ids of text is gone.
    """
    for config in (model.config, model.config.get_text_config()):
        config.bos_token_id, config.pad_token_id, config.eos_token_id = None, None, end_of_document
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    embedding.padding_idx = None
    model.generation_config = GenerationConfig(eos_token_id=end_of_document, pad_token_id=end_of_document)
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
        _fill_rows(weight, num_rows, weight[:num_rows].detach().float().cpu(), _mean_and_covariance, generator)
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


def _check_rows(model: PreTrainedModel, initialisation: str, num_text_ids: int) -> None:
    if initialisation not in INITIALISATIONS:
        raise UserError(f"initialisation is {initialisation!r}: choose one of {', '.join(INITIALISATIONS)}")
    if num_embeddings(model) < num_text_ids:
        raise UserError(f"the backbone has {num_embeddings(model)} rows, its text tokenizer {num_text_ids} ids")


@torch.no_grad()
def _fill_rows(
    weight: Tensor, first: int, text: Tensor, draw: Callable[..., Tensor], generator: torch.Generator
) -> None:
    """Draw the rows of ``weight`` from ``first`` on as the rows of ``text`` (num_text, width) are spread."""
    if weight.dim() == 1:
        weight[first:] = text.mean()
    else:
        weight[first:] = draw(_sampled(text), weight.shape[0] - first, generator).to(weight)


def _sampled(text: Tensor) -> Tensor:
    return text[:: -(-len(text) // _MAX_SAMPLED_ROWS)]


@torch.no_grad()
def _place_by_centroids(
    weight: Tensor, text: Tensor, vocabulary: Vocabulary, centroids: Sequence[Tensor], generator: torch.Generator
) -> None:
    """Overwrite the rows of units, a codebook at a time; markers and padding stay as they were drawn."""
    sizes = tuple(len(table) for table in centroids)
    assert sizes == tuple(vocabulary.codebook_sizes), f"centroids of {sizes} units for {vocabulary.codebook_sizes}"
    if weight.dim() == 1:
        return
    text, start = _sampled(text), vocabulary.first_unit_id
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
