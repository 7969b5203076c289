"""Make the files of a new snapshot durable by one call, where the filesystem allows it.

``syncfs`` writes a whole filesystem. It waits for what others have written there, which is why
only background threads use it. It reports failed writes since Linux 5.8.
"""

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rekindle.state import durable

_FEW: Final = 64
_RELIABLE: Final = frozenset({0xEF53, 0x58465342, 0x9123683E})
"""Magic numbers of ext4, XFS and Btrfs, where ``syncfs`` was tested or is documented to wait."""


class BatchSync:
    """Sync what is written below a folder while this context is open.

    Args:
        folder: on the filesystem that is written.
    """

    def __init__(self, folder: Path) -> None:
        # opened before anything is written: an error is reported to descriptors that exist then
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._reliable = _reports_errors() and _kind(folder) in _RELIABLE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def sync(self, folder: Path, count: int) -> None:
        """Make a folder and everything below it durable.

        Args:
            count: number of its files.

        Raises:
            OSError: they are not durable.
        """
        if count < _FEW or not self._reliable:
            durable.fsync_all([*_everything(folder)])
            return
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(self._fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _everything(folder: Path) -> Iterator[Path]:
    for path, _, names in os.walk(folder):
        yield from (Path(path, name) for name in names)
        yield Path(path)


def _reports_errors() -> bool:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (
        sys.platform == "linux"
        and release is not None
        and (int(release[1]), int(release[2])) >= (5, 8)
        and hasattr(ctypes.CDLL(None), "syncfs")
    )


def _kind(folder: Path) -> int:
    """Return the magic number of a filesystem; 0 if it is unknown."""
    buffer = ctypes.create_string_buffer(512)  # struct statfs, which begins with the number
    if ctypes.CDLL(None).statfs(os.fsencode(folder), buffer) != 0:
        return 0
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
