"""Write files durably: after a power loss the old or the new content exists."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def fsync_folder(folder: Path) -> None:
    """Make creations, renames and removals in ``folder`` survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Make the content of a file survive a power loss."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: Path, data: bytes, mode: int = 0o644, *, shared: bool = False) -> None:
    """Replace ``path`` by ``data`` in one step: temporary file, fsync, rename, fsync.

    Args:
        shared: another user reads the file, so the umask must not change ``mode``.
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
    """Name a finished file ``target`` in one step; never replace another file.

    ``made`` may exist afterwards under both names. FAT, exFAT and some network disks have no
    hard links: there the name is reserved first, since a rename would replace another file.

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
    """Write a new file; the caller makes it durable with :func:`fsync_all`.

    For a folder that one rename makes visible after all its files are written.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def fsync_all(paths: Sequence[Path]) -> None:
    """Make many files and folders durable; concurrent syncs share one flush of the disk."""

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
    from concurrent.futures import ThreadPoolExecutor  # not at the top: the keeper never needs it

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, paths))


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Replace ``path`` by ``value`` as JSON, durably."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode(), mode)
