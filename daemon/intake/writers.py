"""Find out whether a program has a file open for writing.

The kernel answers exactly for the daemon's own files, and for all of them if the daemon is root: it
grants a read lease only while nobody has the file open for writing. Elsewhere the open files of the
processes that this user can see are looked through.
"""

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def is_open_for_writing(path: Path) -> bool | None:
    """Return whether a regular file is open for writing; None if no writer can be seen.

    Raises:
        FileNotFoundError: it was removed.
    """
    known = kernel_says(path)
    if known is None and holder(path) is not None:
        return True
    return known


def kernel_says(path: Path) -> bool | None:
    """Return the same without a look at other processes; None if the kernel does not say.

    Raises:
        FileNotFoundError: it was removed.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        # who opens the file meanwhile sends a signal: SIGIO would end this process
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # else it is another user's file, or there are no leases here
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(fd)
    return False


def holder(path: Path) -> str | None:
    """Name a process that has a file open for writing, e.g. "process 123 (scp)"; None if unseen.

    Raises:
        FileNotFoundError: the file was removed.
    """
    info = path.lstat()
    for process, fd in _open_files(path.name):
        with contextlib.suppress(OSError, ValueError):
            seen = os.stat(process / "fd" / fd)
            if (seen.st_dev, seen.st_ino) == (info.st_dev, info.st_ino) and _writes(process, fd):
                name = (process / "comm").read_text(errors="replace").strip()
                return f"process {process.name} ({name})"
    return None


def _open_files(name: str) -> Iterator[tuple[Path, str]]:
    """Yield the processes and descriptors that have a file of this name open.

    Links are compared by their text: following one to a dead network disk would block.
    """
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        process = Path(entry.path)
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            for fd in os.listdir(process / "fd"):
                with contextlib.suppress(OSError):
                    if os.path.basename(os.readlink(process / "fd" / fd)) == name:
                        yield process, fd


def _writes(process: Path, fd: str) -> bool:
    for line in (process / "fdinfo" / fd).read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
