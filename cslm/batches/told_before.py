"""What is said of the sources before the first step, or refused: documents that are too long, tokens that stay text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cslm.batches.source_config import Source, SourceConfig
from cslm.errors import UserError


def told_before_training(
    sources: Mapping[str, Source], configs: Mapping[str, SourceConfig], max_length: int
) -> Iterator[str]:
    """Lines that say what of the sources, by name, will not be learnt as it stands there.

    Raises:
        UserError: more of a source is too long than it allows.
    """
    for name, source in sources.items():
        yield from (f"the source {name}: {line}" for line in source.told)
        lengths = source.sampled_lengths
        left_out = sum(length > max_length and not may_be_cut for length, may_be_cut in lengths) / len(lengths)
        found = f"{left_out:.0%} of the documents of the source {name} are longer than max_length {max_length:,} tokens"
        if left_out > configs[name].max_too_long_share:
            raise UserError(
                f"{found} and would be left out, which is above its max_too_long_share "
                f"{configs[name].max_too_long_share}: raise training.max_length, shorten them, or allow it there"
            )
        if left_out:
            yield f"{found} and will be left out (of {len(lengths):,} looked at)"
        for token, count in source.spelt_tokens.items():
            documents = f"{count:,} document{'s' * (count > 1)}"
            yield (
                f"{documents} of the source {name} spell {token}, which is learnt as plain pieces; "
                f"list it in sources.{name}.control_tokens to learn the token"
            )
