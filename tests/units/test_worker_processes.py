"""Jobs in processes of this machine: a process that is killed is told in a line."""

from __future__ import annotations

import os

import pytest

from cslm.errors import UserError
from cslm.units.worker_processes import in_processes


def _opened(device):
    return _killed


def _killed(job):
    os._exit(9)  # as the system does where memory ends


def test_a_killed_worker_was_a_traceback():
    with pytest.raises(UserError, match="a process of the work was killed from outside"):
        list(in_processes(iter(range(4)), _opened, ["cpu"]))
