"""A lock covers the file and its directory: removing the file does not free it."""

import fcntl
import os
from pathlib import Path

import pytest

from rekindle.state import lock
from rekindle.state.errors import LockHeld


def test_a_lock_is_held_once_and_free_after_its_release(tmp_path: Path) -> None:
    """Each open file is another holder, also in one process."""
    held = lock.take(tmp_path / "lock")
    assert held is not None
    assert lock.take(tmp_path / "lock") is None
    lock.release(held)
    again = lock.take(tmp_path / "lock")
    assert again is not None
    lock.release(again)


def test_removing_the_lock_file_does_not_free_the_lock(tmp_path: Path) -> None:
    """The directory stays the same, and its lock is still held."""
    held = lock.take(tmp_path / "lock")
    assert held is not None
    (tmp_path / "lock").unlink()
    assert lock.take(tmp_path / "lock") is None
    lock.release(held)


def test_a_file_opened_before_its_removal_gives_no_second_lock(tmp_path: Path) -> None:
    """The order of tox-dev/filelock#27: open, remove and create again, lock the old file."""
    old = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    (tmp_path / "lock").unlink()
    held = lock.take(tmp_path / "lock")
    assert held is not None
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a lock on the old file excludes nobody
    with pytest.raises(BlockingIOError):
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for fd in (old, directory):
        os.close(fd)
    lock.release(held)


@pytest.mark.parametrize("what", ["lock", "."])
def test_one_of_the_two_locks_is_enough(tmp_path: Path, what: str) -> None:
    """A keeper of an earlier version locks only the file."""
    (tmp_path / "lock").touch()
    fd = os.open(tmp_path / what, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert lock.take(tmp_path / "lock") is None
    with pytest.raises(LockHeld), lock.held(tmp_path / "lock", "Held.", "Wait."):
        pass
    os.close(fd)
    with lock.held(tmp_path / "lock", "Held.", "Wait."):
        assert lock.take(tmp_path / "lock") is None


def test_a_directory_that_cannot_be_locked_leaves_the_lock_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS it fails with EBADF: flock is a write lock, and no directory is open for writing."""
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(9, "Bad file descriptor")
        real(fd, operation)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    held = lock.take(tmp_path / "lock")
    assert held is not None
    assert lock.take(tmp_path / "lock") is None
    lock.release(held)
