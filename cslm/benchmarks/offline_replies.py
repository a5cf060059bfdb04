"""Many replies written offline, together and one by one: ids a second, and whether they are the same.

The clock is ``time.perf_counter``, around each call of ``tasks().answer``; the units of the questions are there before.
Both ways are warmed up by the first questions. Replies one by one are timed each: ``single_sec``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from cslm.benchmarks.timed_reply import Asked, spread
from cslm.generation.decoding import DecodingConfig

WARM_UP = 4
"""replies of either way before the clock starts"""


def offline_replies(model: Any, asked: Sequence[Asked], decoding: DecodingConfig, num_replies: int) -> dict[str, Any]:
    """The figures of this module; questions are asked again in turn where there are fewer."""
    units = model.processor.units_batch([one.question for one in asked])
    chosen = [place % len(asked) for place in range(num_replies)]
    items = [(units[place], asked[place].question_language, asked[place].answer_language) for place in chosen]
    alone = dataclasses.replace(decoding, batch_size=1)
    _write(model, items[:WARM_UP], decoding)
    for item in items[:WARM_UP]:
        _write(model, [item], alone)
    together, together_sec = _write(model, items, decoding)
    singles = [_write(model, [item], alone) for item in items]
    single_sec = [seconds for _, seconds in singles]
    return {
        "clock": "time.perf_counter",
        "num_replies": len(items),
        "num_questions": len(set(chosen)),
        "num_ids": sum(map(len, together)),
        "together_sec": together_sec,
        "single_sec": {"all": sum(single_sec), **(spread(single_sec) or {})},
        "ids_a_second": {
            "together": sum(map(len, together)) / together_sec,
            "single": sum(len(ids) for (ids,), _ in singles) / sum(single_sec),
        },
        "together_by_single": _rate(together, together_sec) / _rate([ids for (ids,), _ in singles], sum(single_sec)),
        "ids_equal": sum(ids == alone_ids for ids, ((alone_ids,), _) in zip(together, singles, strict=True))
        / len(items),
    }


def _rate(replies: Sequence[list[int]], seconds: float) -> float:
    return sum(map(len, replies)) / seconds


def _write(
    model: Any, items: Sequence[tuple[Any, str, str]], decoding: DecodingConfig
) -> tuple[list[list[int]], float]:
    """The ids of replies, and the seconds that they took."""
    units, spoken, answered = (list(values) for values in zip(*items, strict=True))
    start = time.perf_counter()
    written = model.tasks().answer(units, spoken, answered, decoding)
    return [one.ids for one in written], time.perf_counter() - start
