"""Locks that end with their holder: ``flock`` on a file, tried and never waited for."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rekindle.state.errors import LockHeld


@contextlib.contextmanager
def held(path: Path, what: str, hint: str) -> Iterator[None]:
    """Holds the lock of a run or a home.

    Raises:
        LockHeld: another process has it; with ``what`` and ``hint``.
        OSError: the file cannot be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(what, where=path, hint=hint) from error
        yield
    finally:
        os.close(fd)
