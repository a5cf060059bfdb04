"""Who reads ahead: nobody where all cores train, some processes beside an accelerator."""

from __future__ import annotations

import pytest

from cslm.training import loader_workers as module
from cslm.training.loader_workers import loader_workers
from tests.worlds.flat_training import training_config


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 3), (24, 4)])
def test_beside_an_accelerator_cores_that_are_left_read_ahead(monkeypatch, cores, workers):
    monkeypatch.setattr(module, "runs_on_cpu", lambda: False)
    monkeypatch.setattr(module, "share_of_cores", lambda: cores)
    assert loader_workers(training_config(max_steps=1)) == workers
    assert loader_workers(training_config(max_steps=1, loader_workers=0)) == 0
