"""Standard output and error of a trainer, which a full disk cannot turn into a crash.

`print` in a user's script raises when the log's disk is full, which would end the training.
Output that cannot be written is dropped and counted; once there is space again, the log says
how many bytes are missing.
"""

import contextlib
import errno
import io
import sys
from collections.abc import Callable
from typing import Any, Final

from rekindle.jobs import journal_writer

_also: list[Callable[[], None]] = []
_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def install() -> None:
    """Replace the files under ``sys.stdout`` and ``sys.stderr`` with :class:`Forgiving` ones.

    Names, encodings and buffering stay the same.
    """
    with contextlib.suppress(OSError):
        journal_writer.keep_log(1)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            if stream is None or stream.isatty():
                continue
            stream.flush()
            raw = Forgiving(stream.fileno())
        except (OSError, ValueError, AttributeError):
            continue
        unbuffered = stream.write_through
        made = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=unbuffered,
        )
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


def also_flush(action: Callable[[], None]) -> None:
    """Call ``action`` with each :func:`flush`: the process may end after it."""
    if action not in _also:
        _also.append(action)


def flush() -> bool:
    """Flush both streams as Python does at exit; False if that fails.

    A stream may be None, closed, or any object that the script has assigned.
    """
    flushed = True
    for action in _also:
        with contextlib.suppress(Exception):
            action()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except Exception:
            flushed = False
    return flushed


class Forgiving(io.FileIO):
    """Write to a descriptor without owning it; drop output while the disk is full or failing."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "w", closefd=False)
        self._lost = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        if self._lost and self._attempt(
            f"\nrekindle: {self._lost} bytes of output dropped (disk full).\n".encode()
        ):
            self._lost = 0
        while view:
            written = self._attempt(view)
            if not written:
                self._lost += len(view)
                break
            view = view[written:]
        return size

    def _attempt(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _DISK:
                raise
            return 0
