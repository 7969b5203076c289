"""Image of a state file in memory that two processes share."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.state.run import digests

PAGE: Final = mmap.PAGESIZE


def whole_pages(size: int) -> int:
    """Return the bytes of the pages that hold ``size`` bytes."""
    return -(-size // PAGE) * PAGE


@dataclass(frozen=True, slots=True)
class Image:
    """Hold a state file in a memory file: its values first, then its header.

    Attributes:
        fd: descriptor of the memory file.
        data: bytes of the values, which begin at 0.
        header: bytes of the header, whole pages, which begin at the page behind the values.
        order: bytes of the order of the checkpoint, behind the header.
    """

    fd: int
    data: int
    header: int
    order: int

    @property
    def end(self) -> int:
        """Bytes of the memory file up to the end of the header."""
        return whole_pages(self.data) + self.header

    def save(self, path: Path) -> dict[str, Any]:
        """Write the state file durably; return its size and digest.

        Raises:
            OSError: it cannot be written.
        """
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        memory = memoryview(mmap.mmap(self.fd, self.end, flags=flags, prot=mmap.PROT_READ))
        values = whole_pages(self.data)
        return digests.write(path, [memory[values:], memory[:values]], self.header + self.data)
