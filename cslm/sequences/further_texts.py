"""What some chains write besides question and answer, as a document and the progress of the training have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cslm.sequences.chains import CORE, Chain
from cslm.sequences.task import Draw


def further_texts(chain: Chain, document: Mapping[str, Any], draw: Draw) -> dict[str, str | None]:
    """Texts by field (``core_question``, ``core_language``, ``answer_text_en``), shortened if asked."""
    others = ("question_text_", "answer_text_", f"{CORE}_")
    further = {name: text for name, text in document.items() if name.startswith(others)}
    if draw.settings.compression is None:
        return further
    return further | draw.settings.compression.shortened(chain, document, draw.progress, draw.seed)
