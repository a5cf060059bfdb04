"""How much sooner a chunked answer is heard, by hand-made times."""

from __future__ import annotations

import pytest

from cslm.benchmarks.chain_speed import HeardReply, against_full, sooner
from cslm.benchmarks.timed_reply import Asked
from cslm.generation.decoding import DecodingConfig
from cslm.sequences.chains import chain_of
from tests.worlds.served import speaking_model
from tests.worlds.tiny_checkpoint import tone


def test_pairs_are_told_by_the_chunks_of_the_chunked_answer() -> None:
    full = HeardReply(1, first_sec=1.0, num_ids=240, when_whole_sec=4.0)
    told = sooner(
        [(HeardReply(4, 0.5, 60, 3.0), full), (HeardReply(4, 1.0, 80, 3.0), full), (HeardReply(2, 2.0, 120, 3.0), full)]
    )
    assert list(told) == ["2", "4"]
    assert told["2"]["sooner"]["p50"] == 2.0 and told["2"]["sooner_in_tokens"]["p50"] == 2.0
    assert told["4"]["sooner"]["p50"] == 6.0 and told["4"]["sooner"]["max"] == 8.0  # 4 / 0.5 and 4 / 1
    assert told["4"]["sooner_in_tokens"]["p50"] == 3.5  # 240 / 60 and 240 / 80
    assert told["4"]["sooner_than_streamed"]["p50"] == 1.5  # 1 / 0.5 and 1 / 1


def test_two_models_answer_the_same_questions(tmp_path_factory: pytest.TempPathFactory) -> None:
    model, full = (speaking_model(tmp_path_factory.mktemp(name)) for name in ("chunked", "full"))
    full.processor.order, full.processor.chain = "full", chain_of("full")
    asked = [Asked((tone(0.6, 16000, 200.0 + 90 * n, n), 16000), "en", "zh") for n in range(3)]
    found = against_full(model, full, asked, DecodingConfig(max_new_tokens=80))
    pairs = [of["sooner"]["n"] for number, of in found.items() if number != "num_silent"]
    assert sum(pairs) + found["num_silent"] == 2 and pairs
