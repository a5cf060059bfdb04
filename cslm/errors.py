"""The errors a user can mend, and how a command reports them."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

_USER_FAULTS = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN)


class UserError(ValueError):
    """Bad input that the user can mend: the message says what was found, where, and what to do.

    A command prints the message on one line and leaves with status 2. Everything else that is raised is a fault of
    the machine or of this package, and leaves with status 1 and its traceback, or one line where a disk is the fault.
    A path that may not be read or written, or leads through a file, is the user's too.
    """


class StoppedError(Exception):
    """A run was asked to stop, and has saved: the same command goes on."""


STOPPED_STATUS = 75
"""Exit status of a run that was asked to stop: EX_TEMPFAIL of ``sysexits.h``, try again."""

INTERRUPTED_STATUS = 130
"""Exit status after Ctrl+C, as shells have it: 128 and the number of SIGINT."""


class MissingExtraError(UserError):
    """A package that an optional feature needs is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package}: pip install 'cslm[{extra}]'")


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something: those of libraries fill pages, and some are empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def exit_with_status(command: Callable[[], None]) -> None:
    """Run a command and set the exit status: 0 done, 2 the user can mend it, 1 the machine failed, 75 asked to stop.

    After Ctrl+C it is 130.
    """
    try:
        command()
    except UserError as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except StoppedError as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        raise SystemExit(STOPPED_STATUS) from None
    except KeyboardInterrupt:
        print("stopped by Ctrl+C: what was finished is kept; the same command goes on or begins again", file=sys.stderr)
        raise SystemExit(INTERRUPTED_STATUS) from None
    except OSError as error:
        if error.errno in _USER_FAULTS and error.filename:
            print(f"error: {error.filename}: {error.strerror}: give another path, or mend this one", file=sys.stderr)
            raise SystemExit(2) from None
        if error.errno not in _DISK_FAULTS:
            raise
        where = f": {error.filename}" if error.filename else ""
        advice = "mend that and run the same command again, it goes on where it stopped"
        print(f"error: {error.strerror}{where}; {advice}", file=sys.stderr)
        raise SystemExit(1) from None
