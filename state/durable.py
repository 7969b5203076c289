"""Writing so that a power loss leaves the old or the new, and never neither."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def fsync_folder(folder: Path) -> None:
    """Makes creations, renames and removals in ``folder`` survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: Path, data: bytes, mode: int = 0o644, *, shared: bool = False) -> None:
    """Replaces ``path`` by ``data`` in one step: temporary file, fsync, rename, fsync.

    Args:
        shared: it is meant for another user, so that the umask has no say in ``mode``.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        if shared:
            os.fchmod(fd, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)
    os.replace(temporary, path)
    fsync_folder(path.parent)


def name_new(made: Path, target: Path) -> None:
    """Gives a finished file beside ``target`` this name, in one step; never over another file.

    ``made`` may be there afterwards under both names. FAT, exFAT and some network disks have no
    links: there the name is reserved first, since a rename would replace what has it.

    Raises:
        FileExistsError: the name is taken.
        OSError: the folder cannot be written; the name is then free.
    """
    try:
        os.link(made, target)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            os.replace(made, target)
        except OSError:
            os.unlink(target)
            raise


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes a file that is not there yet; :func:`fsync_all` is the caller's.

    For a folder that becomes visible by one rename only after all its files are written.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def fsync_all(paths: Sequence[Path]) -> None:
    """Makes many files and folders durable; the disk does in one go what waits together."""

    def one(path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    if len(paths) < 8:
        for path in paths:
            one(path)
        return
    from concurrent.futures import ThreadPoolExecutor  # the keeper does without

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, paths))


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Replaces ``path`` by ``value`` as JSON, durably."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode(), mode)
