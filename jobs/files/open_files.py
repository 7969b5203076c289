"""Files that the script holds open for writing: what lies in their buffers is written out.

At a checkpoint and at the end of the process, which ends without Python's own cleanup.
"""

import contextlib
import gc
import io
import os
import stat
from typing import Any, Final

_KINDS: Final = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO)
FDS: Final = "/proc/self/fd"


class OpenFiles:
    """Find and flush them; one per process.

    Python's objects are searched only when other files are open than at the last call.
    """

    def __init__(self) -> None:
        self._seen: frozenset[tuple[int, int, int]] = frozenset()
        self._objects: list[Any] = []

    @property
    def objects(self) -> list[Any]:
        """Python's files among them, as of the last call of :meth:`flush`."""
        return list(self._objects)

    def descriptors(self) -> list[int]:
        """Return the descriptors, as of the last call of :meth:`flush`."""
        return sorted(fd for fd, _, _ in self._seen)

    def flush(self) -> None:
        """Write out the buffers of regular files; a failure is the script's to meet, later."""
        seen = _writable()
        if not seen:
            self._objects = []
        elif seen != self._seen or any(one.closed for one in self._objects):
            fds = {fd for fd, _, _ in seen}
            self._objects = [
                one for one in gc.get_objects() if type(one) in _KINDS and fd_of(one) in fds
            ]
        self._seen = seen
        for one in self._objects:
            # it fails on a full disk, and within a write of this file that a signal interrupted
            with contextlib.suppress(Exception):
                if not one.closed:
                    one.flush()


def _writable() -> frozenset[tuple[int, int, int]]:
    """Find the descriptors of regular files that are open for writing, without standard output."""
    found = []
    try:
        names = os.listdir(FDS)
    except OSError:
        return frozenset()
    for name in names:
        try:
            info = os.stat(f"{FDS}/{name}")
            mode = os.lstat(f"{FDS}/{name}").st_mode
        except OSError:
            continue
        # the link's mode says how the file is open
        if int(name) > 2 and stat.S_ISREG(info.st_mode) and mode & stat.S_IWUSR:
            found.append((int(name), info.st_dev, info.st_ino))
    return frozenset(found)


def fd_of(one: Any) -> int:
    """Return the descriptor of a file object; -1 if it has none, e.g. once it is closed."""
    try:
        return int(one.fileno())
    except Exception:
        return -1


OPEN_FILES: Final = OpenFiles()
