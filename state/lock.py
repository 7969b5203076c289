"""Lock a file and its directory with ``flock``, without waiting; a lock ends with its holder.

The directory is locked as well: if somebody removes the file, the next process creates another
file whose lock is free, while the directory stays the same.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rekindle.state.errors import LockHeld


def take(path: Path, mode: int = 0o600) -> tuple[int, ...] | None:
    """Lock ``path``, created if missing, and its directory.

    Returns:
        The file descriptors that hold the lock, for :func:`release`; None if another process
        holds either lock. A child that inherits the descriptors holds the lock as well.

    Raises:
        OSError: the file cannot be opened or locked.
    """
    held: list[int] = []
    try:
        held.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode))
        fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        _lock_directory(held[1])
    except BlockingIOError:
        release(held)
        return None
    except BaseException:
        release(held)
        raise
    return tuple(held)


def release(held: tuple[int, ...] | list[int]) -> None:
    """Close the file descriptors of :func:`take`."""
    for fd in held:
        os.close(fd)


@contextlib.contextmanager
def held(path: Path, what: str, hint: str, mode: int = 0o600) -> Iterator[None]:
    """Hold the lock of a run or a home.

    Raises:
        LockHeld: another process holds it; with ``what`` and ``hint``.
        OSError: the file cannot be opened.
    """
    taken = take(path, mode)
    if taken is None:
        raise LockHeld(what, where=path, hint=hint)
    try:
        yield
    finally:
        release(taken)


def _lock_directory(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # NFS emulates flock by a write lock, and a directory cannot be opened for writing: only
        # the file is locked there
        return
