"""What of the first sound the page costs, by hand-made times; and in a browser, where there is one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from cslm.benchmarks.heard_pages import BROWSERS, heard_pages, page_figures
from cslm.benchmarks.timed_reply import Asked
from tests.worlds.served import speaking_model
from tests.worlds.tiny_checkpoint import tone


def turn(made: float, received: float, played: float | None) -> dict[str, Any]:
    page = {"audio": received} if played is None else {"audio": received, "played": played}
    return {"server_ms": {"first_audio": made}, "page_ms": page, "player": {"gaps": 0}}


def test_what_the_page_costs() -> None:
    found = page_figures([turn(300, 330, 400), turn(200, 210, 260), turn(200, 230, 270), turn(200, 210, None)])
    assert (found["num_replies"], found["num_heard"]) == (4, 3)
    assert found["cold"]["received_minus_made"] == 30 and found["cold"]["played_minus_received"] == 70
    warm = found["warm"]
    assert warm["received_minus_made"]["p50"] == 20 and warm["received_minus_made"]["max"] == 30  # 10 and 30
    assert warm["played_minus_received"]["p50"] == 45 and warm["played_minus_made"]["max"] == 70
    assert page_figures([turn(200, 210, None)])["warm"] is None


def test_replies_are_heard_in_a_browser(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    folder: Path = tmp_path_factory.mktemp("speaking")
    asked = Asked((tone(0.6, 16000), 16000), "en", "zh")
    found = heard_pages(speaking_model(folder), asked, 80, 2)
    assert found["num_replies"] == found["num_heard"] == 2
    assert found["warm"]["played_minus_made"]["n"] == 1 and found["cold"]["played"] >= found["cold"]["received"] > 0
