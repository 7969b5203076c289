"""Limit the size of an attempt's log: cut out the middle, with a note in the log.

The trainer writes directly into the file, so a slow or killed keeper cannot block it. The keeper
checks the size and removes whole blocks from the middle (``FALLOC_FL_COLLAPSE_RANGE``: ext4,
XFS): the file system moves the end forward while the trainer continues to append, and no byte of
head or tail is lost. Elsewhere (tmpfs, Btrfs, NFS) the tail is copied; output of that instant may
be lost.

Source: fallocate(2).
"""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

DEFAULT_BYTES: Final = 64 * 2**20
DEFAULT_KEEP: Final = 50
_COLLAPSE_RANGE: Final = 0x08
_BLOCK: Final = 4096
_LEAST: Final = 16 * _BLOCK
_NOTICE: Final = (
    "\nrekindle: {cut} bytes were cut out here; `[logs] max_bytes` in rekindle.toml "
    "sets how much is kept.\n"
)


class LogCap:
    """Keep one log below ``max_bytes`` (at least 64 KiB), except between two looks.

    Args:
        on_cut: called with the start and the length of what was cut out.
    """

    def __init__(
        self, path: Path, max_bytes: int, on_cut: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        self._path = path
        self._max = max(max_bytes, _LEAST)
        self._on_cut = on_cut
        self.cut = 0

    def look(self) -> bool:
        """Shorten a log that is too long; return True if it was.

        Raises:
            OSError: the log cannot be shortened.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            info = os.fstat(fd)
            if info.st_size <= self._max:
                return False
            block = max(info.st_blksize, _BLOCK)
            # a quarter from the beginning, half from the end: room until the next cut
            start = -(-(self._max // 4) // block) * block
            length = (info.st_size - self._max // 2 - start) // block * block
            if length <= 0:
                return False
            if not _collapse(fd, start, length):
                length = _copy_down(fd, self._path, start, self._max // 2)
            self.cut += length
            # replaces the end of the head: pwrite, since the descriptor does not append
            notice = _NOTICE.format(cut=self.cut).encode()
            os.pwrite(fd, notice, start - len(notice))
            self._on_cut(start, length)
            return True
        finally:
            os.close(fd)


def _collapse(fd: int, start: int, length: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.fallocate(
        fd, ctypes.c_int(_COLLAPSE_RANGE), ctypes.c_int64(start), ctypes.c_int64(length)
    )
    return int(done) == 0


def _copy_down(fd: int, path: Path, start: int, tail: int) -> int:
    """Keep ``start`` bytes and about the last ``tail``; return how many were removed."""
    size = os.fstat(fd).st_size
    kept = os.pread(fd, tail, size - tail)
    # bytes appended during the read
    now = os.fstat(fd).st_size
    kept += os.pread(fd, now - size, size)
    os.ftruncate(fd, start)
    appending = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        view = memoryview(kept)
        while view:
            view = view[os.write(appending, view) :]
    finally:
        os.close(appending)
    return now - start - len(kept)


def remove_older(logs: Path, keep: int) -> list[str]:
    """Remove the logs of all but the newest ``keep`` attempts; return their names."""
    found = sorted(logs.glob("attempt-*.log"))
    doomed = found[:-keep] if keep > 0 else []
    for path in doomed:
        path.unlink(missing_ok=True)
        path.with_suffix(".times").unlink(missing_ok=True)
    return [path.name for path in doomed]
