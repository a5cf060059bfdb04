from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cslm.batches.sources import SourceConfig
from tests.worlds.small_world import write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SourceConfig]]:
    folder = tmp_path_factory.mktemp("world")
    before = os.environ.get("CSLM_CACHE")
    os.environ["CSLM_CACHE"] = str(folder / "cache")
    yield write_world(folder)
    if before is None:
        del os.environ["CSLM_CACHE"]
    else:
        os.environ["CSLM_CACHE"] = before
