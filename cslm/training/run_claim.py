"""One start at a time in the folder of a run; and a start that made no step leaves nothing there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cslm.errors import UserError
from cslm.training.engine import gathered
from cslm.training.run_folder import (
    LOCK_FILE,
    cannot_be_made,
    check_output,
    has_steps,
    remove_unbegun,
    settings_that_differ,
    write_configuration,
)

_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_held: set[int] = set()  # descriptors of locks, which worker processes must not keep alive


@contextlib.contextmanager
def claim(output: Path, config: Any) -> Iterator[None]:
    """Hold the folder of a run until the block ends, with its configuration; all processes enter it together.

    What an earlier start left there without a step goes away, if its configuration was another; so does what this one
    makes, if it ends without a step.

    Raises:
        UserError: another start holds it, it holds another run, or it cannot be made; on every process.
    """
    with contextlib.ExitStack() as stack:
        fault = None
        if torch.distributed.get_rank() == 0:
            try:
                stack.enter_context(_claimed(output, config))
            except UserError as error:
                fault = str(error)
        fault = gathered(fault)[0]
        if fault is not None:
            raise UserError(fault)
        yield


@contextlib.contextmanager
def _claimed(output: Path, config: Any) -> Iterator[None]:
    new = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be_made(output, error) from error
        with _locked(output):
            check_output(output, config)
            if not has_steps(output) and settings_that_differ(output, config) is not None:
                remove_unbegun(output)
            try:
                write_configuration(output, config)
                yield
            finally:
                if not has_steps(output):
                    remove_unbegun(output)
    finally:
        for folder in new:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """A lock on a file of the folder, which is let go however this process ends.

    Raises:
        UserError: another process has it, or the folder cannot be written.
    """
    path = output / LOCK_FILE
    try:
        opened = _open_locked(path)
    except OSError as error:
        raise cannot_be_made(output, error) from error
    if opened is None:
        holder = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        raise UserError(
            f"{output} is in use by another start of a run ({holder or 'just begun'}): "
            "wait for it, stop it, or give another output folder"
        )
    _held.add(opened)
    try:
        os.ftruncate(opened, 0)
        os.write(opened, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        _held.discard(opened)
        os.close(opened)


def _open_locked(path: Path) -> int | None:
    """A descriptor of the file with its lock; None where another process has it."""
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            return None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                os.close(opened)
                raise
            print(f"{path.parent}: this file system has no locks; do not start a run twice there", flush=True)
            return opened
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(opened), os.stat(path)):
                return opened
        os.close(opened)  # it was removed between the two: the next one is another file


def _let_go() -> None:
    """In a forked process: only the descriptor of the process that trains keeps the lock."""
    for opened in _held:
        os.close(opened)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
