"""Compressions laid over a training: what their n counts, reckoned as a share of it.

A document knows the share of the training that lies before it, and nothing else. So steps and epochs become shares
here, once: steps by the tokens of a step, epochs by how often the mixture draws a source.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cslm.batches.mixture import Mixture
from cslm.batches.source_config import CommonSource, Source, sample_progress, shortening
from cslm.batches.weights import Weight, WeightSchedule
from cslm.errors import UserError

_LOOKS = 64
_ROUNDS = 4


def reckon(
    sources: Mapping[str, Source], weights: Mapping[str, Weight], total_tokens: float, tokens_per_step: int
) -> None:
    """Lay the compression of each source over a training; before mean lengths are asked for, which hang on it.

    Epochs are guessed from lengths: :func:`reckon_epochs` makes them exact.

    Args:
        sources: open, by name.
        weights: of these, and perhaps of others, by name.
        total_tokens: of the training.

    Raises:
        UserError: epochs under weights that change, or an ``all_from`` that is never reached.
    """
    for name, (source, compression) in shortening(sources).items():
        config = compression.config
        if config.unit == "steps":
            source.reckon(total_tokens / tokens_per_step / config.every)
        if config.unit == "epochs":
            of_source = _share(name, {other: weights[other] for other in sources}) * total_tokens
            _guess_epochs(source, of_source / source.num_documents / config.every)
        else:
            _check_reached(name, source)


def reckon_epochs(sources: Mapping[str, Source], mixture: Mixture) -> None:
    """Lay compressions that count epochs over the training by the draws of its mixture.

    Raises:
        UserError: an ``all_from`` that is never reached.
    """
    for name, (source, compression) in shortening(sources).items():
        if compression.config.unit == "epochs":
            source.reckon(mixture.num_draws(name) / source.num_documents / compression.config.every)
            _check_reached(name, source)


def reckon_alike(sources: Mapping[str, Source], laid: Mapping[str, Source]) -> None:
    """Lay the compressions of ``sources``, a part of those ``laid``, over the same training."""
    known = shortening(laid)
    for name, (source, _) in shortening(sources).items():
        source.reckon(known[name][1].num_units)


def told_of_compressions(sources: Mapping[str, Source]) -> list[str]:
    """A line for each source whose chains become shorter: how fast."""
    return [f"the source {name}: {compression}" for name, (_, compression) in shortening(sources).items()]


def _share(name: str, weights: Mapping[str, Weight]) -> float:
    """The share of a source in the tokens.

    Raises:
        UserError: a weight changes.
    """
    fixed = {other: weight for other, weight in weights.items() if not isinstance(weight, WeightSchedule)}
    if len(fixed) < len(weights):
        raise UserError(
            f"the source {name} counts compression.unit in epochs, which have no even pace where weights change: "
            "choose share or steps, or give every source one weight"
        )
    return fixed[name] / sum(fixed.values())


def _guess_epochs(source: CommonSource, tokens_per_document: float) -> None:
    """Find how many units pass when documents become shorter with them: the shorter, the more of them.

    Args:
        tokens_per_document: of the whole training, in one unit.
    """
    places = np.linspace(0, source.num_documents - 1, _LOOKS).round().astype(int).tolist()
    source.reckon(0.0)
    for _ in range(_ROUNDS):
        looks = (source.clean_sequence(place, place, sample_progress(i)) for i, place in enumerate(places))
        source.reckon(tokens_per_document / (sum(len(document) for document in looks) / _LOOKS))


def _check_reached(name: str, source: CommonSource) -> None:
    compression = source.compression
    assert compression is not None, "nothing becomes shorter"
    config = compression.config
    if config.all_from is not None and compression.most < config.all_from:
        raise UserError(
            f"the source {name} has compression.all_from {config.all_from}, and n is {compression.most} when this "
            f"training ends (one more every {config.every:g} {config.unit}): lower all_from or every, or train longer"
        )
