"""Files that the script holds open for writing: what lies in their buffers is written out.

At a checkpoint and at the end of the process, which ends without Python's own cleanup.
"""

import contextlib
import fcntl
import gc
import io
import os
import stat
import weakref
from pathlib import Path
from typing import Any, Final, NamedTuple

from rekindle.state.paths import Run

_KINDS: Final = frozenset({io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO})
FDS: Final = "/proc/self/fd"
_STREAMS: Final = 2
_EVENTS: Final = "events.out.tfevents"
_DELETED: Final = " (deleted)"


class OpenFile(NamedTuple):
    """Name one open file: an equal one later is the same, unless its object was closed."""

    fd: int
    device: int
    inode: int
    path: str


class OpenFiles:
    """Find and flush them; one per process.

    A search through all of Python's objects takes 0.1 s and more: only another file of the script
    causes one, or one opened again. Those of a run, deleted ones, and event files of TensorFlow's
    own writer, which no Python object holds, do not.
    """

    def __init__(self) -> None:
        self._files: frozenset[OpenFile] = frozenset()
        self._ours: frozenset[OpenFile] = frozenset()
        self._objects: list[tuple[OpenFile, weakref.ref[Any]]] = []
        self._has_events = True

    @property
    def files(self) -> list[OpenFile]:
        """The script's files, as of the last call of :meth:`flush`."""
        return sorted(self._files)

    @property
    def objects(self) -> list[Any]:
        """Python's objects of them, as of the last call of :meth:`flush`."""
        return [one for _, known in self._objects if (one := known()) is not None]

    def watch(self) -> None:
        """Expect a call of :meth:`opened` for what Python opens for writing from now on."""
        self._has_events = any(is_of_events(one.path) for one in _writable())

    def opened(self, path: Any) -> None:
        """Note that Python opens a file for writing."""
        if not self._has_events:
            with contextlib.suppress(TypeError, ValueError):  # called by an audit hook
                # of a writer in Python, e.g. tensorboardX
                self._has_events = is_of_events(os.fsdecode(path))

    def flush(self) -> None:
        """Write out the buffers of regular files; a failure is the script's to meet, later."""
        files = self._look()
        gone = {file for file, known in self._objects if _is_closed(known())}
        if not files <= self._files or gone & files:
            self._objects = list(_search(files))
        elif gone:
            self._objects = [one for one in self._objects if one[0] not in gone]
        self._files = files
        for one in self.objects:
            # it fails on a full disk, and within a write of this file that a signal interrupted
            with contextlib.suppress(Exception):
                one.flush()

    def _look(self) -> frozenset[OpenFile]:
        """Find the script's files."""
        found = frozenset(
            one
            for one in _writable()
            if (self._has_events or not is_of_events(one.path)) and not _is_deleted(one.path)
        )
        self._ours = frozenset(
            one for one in found if one in self._ours or is_of_a_run(Path(one.path))
        )
        return found - self._ours


def _search(files: frozenset[OpenFile]) -> list[tuple[OpenFile, "weakref.ref[Any]"]]:
    """Find Python's objects of some files; held weakly, as the script may drop one to close it."""
    if not files:
        return []
    by_fd = {file.fd: file for file in files}
    found = [one for one in gc.get_objects() if type(one) in _KINDS]
    return [(by_fd[fd], weakref.ref(one)) for one in found if (fd := fd_of(one)) in by_fd]


def _writable() -> list[OpenFile]:
    """List the regular files that are open for writing, without the standard streams."""
    found = []
    try:
        names = os.listdir(FDS)
    except OSError:
        return []
    for name in names:
        fd = int(name)
        if fd <= _STREAMS:
            continue
        with contextlib.suppress(OSError):
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                continue
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
                path = os.readlink(f"{FDS}/{name}")
                found.append(OpenFile(fd, info.st_dev, info.st_ino, path))
    return found


def is_of_events(path: str) -> bool:
    """Return whether a file is of TensorBoard's events, by its name.

    Each attempt has a file of its own: TensorBoard reads all of a folder.
    """
    return os.path.basename(path).startswith(_EVENTS)


def _is_deleted(path: str) -> bool:
    """Return whether nothing will read what is written to a file after this process."""
    return path.endswith(_DELETED) and not os.path.lexists(path)


def is_of_a_run(path: Path) -> bool:
    """Return whether a file is of a run, this one or an earlier one of the same process."""
    run = Run(path.parent)
    ours = (run.heartbeat, run.step_record, run.journal, run.keeper_log)
    return path in ours and run.journal.exists()


def _is_closed(one: Any) -> bool:
    try:
        return one is None or bool(one.closed)
    except Exception:  # a text file whose buffer was detached
        return True


def fd_of(one: Any) -> int:
    """Return the descriptor of a file object; -1 if it has none, e.g. once it is closed."""
    try:
        return int(one.fileno())
    except Exception:
        return -1


OPEN_FILES: Final = OpenFiles()
