"""One server for all tests that leave it as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from tests.worlds.served import serving, speaking_model


@pytest.fixture(scope="session")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that speaks early."""
    return speaking_model(tmp_path_factory.mktemp("speaking"))


@pytest.fixture(scope="session")
def server(speaking: Any) -> Iterator[Any]:
    """It, served."""
    with serving(speaking) as running:
        yield running


@pytest.fixture
def address(server: Any) -> str:
    """Where."""
    return f"127.0.0.1:{server.port}"


class Held:
    """Steps of a model that wait until they are let go."""

    def __init__(self, model: Any) -> None:
        self.go = threading.Event()
        self._hook = model.register_forward_pre_hook(self._wait)

    def _wait(self, *_: object) -> None:
        self.go.wait(600)

    def end(self) -> None:
        self.go.set()
        self._hook.remove()


@pytest.fixture
def held(speaking: Any) -> Iterator[Held]:
    """The model stands still until it is let go."""
    holding = Held(speaking)
    yield holding
    holding.end()
