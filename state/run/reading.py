"""Read files that a user's script can replace: only regular ones of limited size, without waiting.

A FIFO, a device or a folder in place of the file, or a file of gigabytes, raises OSError at once:
otherwise one job could block the daemon.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, Final

MOST_BYTES: Final = 64 * 2**20
MOST_DEPTH: Final = 50
"""Limit for nested lists and tables: code after the parser would raise RecursionError."""

_NOT_REGULAR: Final = "Not a regular file"


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """Open a regular file; the caller closes the descriptor.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    try:
        # O_NONBLOCK: otherwise opening a FIFO waits for its other end
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a FIFO or socket without another end
            raise OSError(errno.EINVAL, _NOT_REGULAR, str(path)) from error
        raise
    try:
        check_regular(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_regular(fd: int, path: Path) -> None:
    """Check that an open file is a regular one.

    Raises:
        OSError: it is not.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, _NOT_REGULAR, str(path))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more than ``most`` bytes.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"File has more than {most} bytes", str(path))
    return data


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a regular file as UTF-8 text.

    Raises:
        OSError: as :func:`read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path, most).decode()


def parse_json(text: str | bytes) -> Any:
    """Parse JSON of limited depth.

    Raises:
        ValueError: it is not JSON, or is nested deeper than :data:`MOST_DEPTH`.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels") from None
    opened = (
        text.count(b"{") + text.count(b"[")
        if isinstance(text, bytes)
        else text.count("{") + text.count("[")
    )
    if opened > MOST_DEPTH and _deeper(value, MOST_DEPTH):
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
    return value


def _deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, dict | list) for inner in layer)
