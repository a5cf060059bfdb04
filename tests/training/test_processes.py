"""Runs of several processes in tests: what failed is told, not that the others waited for it."""

from __future__ import annotations

import socket
import time

import pytest

from tests.training.processes import finish, free_port, start

FAILS_OR_WAITS = """
import os, sys, time
if os.environ["RANK"] == "1":
    sys.exit("no disk is left")
time.sleep(600)
"""


def test_one_that_failed_was_hidden_by_the_time_that_its_fellow_waited(monkeypatch):
    monkeypatch.setattr("tests.training.processes._AFTER_A_FAILURE", 1)
    began = time.monotonic()
    with pytest.raises(AssertionError, match="rank 1 said\nno disk is left"):
        finish(start(2, "-c", FAILS_OR_WAITS))
    assert time.monotonic() - began < 60


def test_one_that_never_ends_is_named():
    with pytest.raises(AssertionError, match="rank 0 did not end within 1 s; it said\nhello"):
        finish(start(1, "-c", "import time; print('hello', flush=True); time.sleep(600)"), patience=1)


def test_a_full_pipe_of_one_stopped_all():
    """The first waits for the second, which says more than a pipe holds."""
    says = "import os, sys, time\nfor _ in range(4000 * int(os.environ['RANK'])): print('x' * 100, file=sys.stderr)\n"
    meet = "import torch.distributed as d; d.init_process_group('gloo'); d.barrier(); d.destroy_process_group()"
    assert finish(start(2, "-c", says + meet + "; print('met')"), patience=120).endswith("met\n")


def test_ports_are_free_and_no_connection_of_the_system_gets_them():
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20 and all(20_000 <= port < 32_500 for port in ports)
    with socket.socket() as taken:
        taken.bind(("", free_port() + 1))
        assert free_port() != taken.getsockname()[1]
