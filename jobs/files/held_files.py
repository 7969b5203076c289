"""Files that the script opened before a stage, and that are written while it runs.

A log (``logging.FileHandler``, ``open("log.txt", "w")``) or an array in a mapped file: the script
opens it again in a relaunch, before the stage. So its content is restored below the same handle,
and the position of the handle with it. A file that a library holds itself, such as a database, is
named.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rekindle.jobs.files.open_files import FDS, OPEN_FILES, fd_of, is_of_a_run, is_of_events

_OF_DATABASES: Final = ("-shm", "-wal", ".mdb")
_NO_FILES: Final = ("/dev/", "/proc/", "/sys/", "/memfd:")
_MAPS: Final = "/proc/self/maps"
_SHARED: Final = re.compile(rb" rw.s [0-9a-f]+ [0-9a-f:]+ [0-9]+ +(/[^\n]*)")

Identity = tuple[int, int]


@dataclass
class _Held:
    """Describe one file that is held.

    Attributes:
        fds: descriptors that may write.
        objects: Python's files on them.
        is_mapped: it is mapped into memory, and what is written there changes no time.
    """

    fds: list[int] = field(default_factory=list)
    objects: list[Any] = field(default_factory=list)
    is_mapped: bool = False

    def map(self, path: str) -> None:
        """Note a mapping; one of a database is the library's."""
        self.is_mapped = not path.endswith(_OF_DATABASES)

    @property
    def is_of_python(self) -> bool:
        """Return whether Python alone holds it: a library would not notice another content."""
        if self.is_mapped:
            return True  # of numpy, mostly
        return set(self.fds) <= set(map(fd_of, self.objects))


class HeldFiles:
    """Find, for one stage, those that have changed since it began."""

    def __init__(self) -> None:
        self._begun: dict[str, Identity | None] = {}
        self._foreign: dict[str, None] = {}
        self._positions: dict[str, int] = {}

    def begin(self) -> None:
        """Note the files that are held now; a stage that is not trained has no need of it."""
        if held := _held():
            inherited = _inherited()
            self._begun = {path: identity(path) for path in held if _file(path) not in inherited}

    def written(self, is_wanted: Callable[[str], bool]) -> dict[str, bool]:
        """Return the files that changed, and whether they are mapped; flush Python's first."""
        found: dict[str, bool] = {}
        for path, held in (_held() if self._begun else _open()).items():
            if not is_wanted(path):
                continue  # none of the script's
            if path not in self._begun:
                self._note_position(path, held)  # opened within the stage
                continue
            if not held.is_mapped and identity(path) == self._begun[path]:
                continue
            if held.is_of_python:
                found[path] = held.is_mapped
                self._note_position(path, held)
            else:
                self._foreign[path] = None
        return found

    def _note_position(self, path: str, held: _Held) -> None:
        if held.fds and held.is_of_python:
            with contextlib.suppress(OSError):
                self._positions[path] = os.lseek(held.fds[0], 0, os.SEEK_CUR)

    @property
    def positions(self) -> dict[str, int]:
        """Positions in the files that changed, as of the last call of :meth:`written`."""
        return dict(self._positions)

    @property
    def foreign(self) -> list[str]:
        """Names of the files that changed and that libraries hold."""
        return [os.path.basename(path) for path in self._foreign]


def seek(positions: dict[str, int]) -> None:
    """Set the positions of Python's files by path; those that append need none."""
    held = _open() if positions else {}
    for path in positions.keys() & held.keys():
        position = positions[path]
        for fd in held[path].fds:
            with contextlib.suppress(OSError):
                os.lseek(fd, position, os.SEEK_SET)
        for one in held[path].objects:
            with contextlib.suppress(Exception):  # a file of another mode, of a class of the script
                one.seek(position)


def paths() -> dict[str, bool]:
    """List what is held now, and whether by Python alone.

    Replacing such a file leaves a handle or mapping on the earlier one.
    """
    return {path: held.is_of_python for path, held in _held().items()}


def _held() -> dict[str, _Held]:
    found = _open()
    for path in _mapped():
        found.setdefault(path, _Held()).map(path)
    return found


def _open() -> dict[str, _Held]:
    """Find the regular files that are open for writing, by path; flush Python's first."""
    found: dict[str, _Held] = {}
    by_fd: dict[int, _Held] = {}
    OPEN_FILES.flush()
    for file in OPEN_FILES.files:
        if _is_file(file.path):
            by_fd[file.fd] = found.setdefault(file.path, _Held())
            by_fd[file.fd].fds.append(file.fd)
    for one in OPEN_FILES.objects:
        if (fd := fd_of(one)) in by_fd:
            by_fd[fd].objects.append(one)
    return found


def _mapped() -> set[str]:
    """List the files that are mapped shared and for writing.

    Reading takes 4 ms in a process with TensorFlow, and as long again if each line is decoded.
    """
    try:
        with open(_MAPS, "rb") as file:
            found = set(_SHARED.findall(file.read()))
    except OSError:
        return set()
    return {path for path in map(os.fsdecode, found) if _is_file(path)}


def _is_file(path: str) -> bool:
    if not path.startswith("/") or path.startswith(_NO_FILES):
        return False
    if is_of_events(path) or is_of_a_run(Path(path)):
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # none of a deleted file
    except OSError:
        return False


def _inherited() -> set[tuple[int, int]]:
    """Return device and inode of the standard streams, and of what the parent has open, too."""
    found: set[tuple[int, int] | None] = set()
    found.update(_file(f"{FDS}/{number}") for number in range(3))
    parent = f"/proc/{os.getppid()}/fd"
    with contextlib.suppress(OSError):  # another user's process
        found.update(_file(f"{parent}/{number}") for number in os.listdir(parent))
    return {one for one in found if one is not None}


def _file(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def identity(path: str) -> Identity | None:
    """Return size and time of the last change of a file; None if it is missing."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns
