from __future__ import annotations

import pytest

from cslm.sequences.sequence_format import SequenceFormat
from tests.sequences.small_village import small_format


@pytest.fixture(scope="session")
def form(tmp_path_factory: pytest.TempPathFactory) -> SequenceFormat:
    return small_format(tmp_path_factory.mktemp("tokenizer") / "small")
