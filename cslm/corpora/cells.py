"""Values of other people's rows as text: numbers may stand for names, anything else may not."""

from __future__ import annotations

import json
from typing import Any

from cslm.errors import UserError


def text_of(value: Any, name: str, where: str) -> str:
    """A text without blanks around it; whole numbers are written out.

    Raises:
        UserError: it is null, a list, an object, a truth value, or a number with a fraction.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    try:
        found = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError):
        found = type(value).__name__
    raise UserError(f"{where}: its {name} is {found[:60]}, not text")
