"""How soon a compressed chain can answer at best: what k, m and the markers leave of the true chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cslm.codecs.units import Units
from cslm.evaluation.reply_parts import read_parts
from cslm.generation.processor import CSLMProcessor
from cslm.sequences.chains import chain_of
from cslm.sequences.compression import Compression, CompressionConfig
from cslm.sequences.tasks import TASKS, Draw, Example, Settings
from cslm.units.shards import StoreRow


def shortest_delays(checkpoint: Path, settings: Path, dialogues: Sequence[Mapping[str, Any]]) -> list[int]:
    """Tokens before the first of the answer, where each true chain is shortened as at the end of the training.

    Args:
        checkpoint: whose tokens are counted.
        settings: a YAML file of training, whose source ``questions`` has ``order`` and ``compression``.
        dialogues: with the fields of the chain.
    """
    source = yaml.safe_load(settings.read_text(encoding="utf-8"))["sources"]["questions"]
    told = Settings(order=source["order"], compression=Compression.of(CompressionConfig(**source["compression"])))
    form, chain = CSLMProcessor.from_pretrained(checkpoint).form, chain_of(source["order"])
    asked = Units(np.zeros((1, 1), np.int64))  # what was heard stands before the reply
    delays = []
    for dialogue in dialogues:
        heard = StoreRow("question", dialogue["question_language"], dialogue["question_text"], 1.0, asked)
        written = TASKS["dialogue"].write(form, Example(dialogue, (heard,)), Draw(0, 1.0, told))
        delay = read_parts(form, chain, written.ids[int(np.argmax(written.trained)) :].tolist()).token_delay
        assert delay is not None, "a true chain has an answer"
        delays.append(delay)
    return delays
