"""Hashes of what is frozen: a checkpoint of the trained part opens with these tensors alone."""

from __future__ import annotations

from collections.abc import Mapping

from cslm.errors import UserError


def check_frozen(known: Mapping[str, str], found: Mapping[str, str], places: Mapping[str, str], where: str) -> None:
    """Make sure that a checkpoint is put before the parts that it was trained with.

    Args:
        known: hashes that the checkpoint names.
        found: of the parts that were opened.
        places: where these lie.
        where: what messages call the checkpoint.

    Raises:
        UserError: one is another; both are named.
    """
    for name, wanted in known.items():
        if found[name] != wanted:
            raise UserError(
                f"{where} was trained with the {name} {wanted}, and {places[name]} is {found[name]}: give the one that "
                "it was trained with"
            )
