"""Read at which time a log had which size."""

import bisect
from pathlib import Path
from typing import Self


class Times:
    """Find the time of a byte, and the byte of a time.

    Args:
        sizes: of the log, ascending.
        moments: unix times at which these were seen.
    """

    def __init__(self, sizes: list[int], moments: list[float]) -> None:
        self._sizes = sizes
        self._moments = moments

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file that the keeper wrote; empty where an older version wrote none."""
        sizes: list[int] = []
        moments: list[float] = []
        try:
            text = path.read_text(errors="replace")
        except OSError:
            return cls([], [])
        for line in text.splitlines():
            try:
                kind, first, second = line.split()
                if kind == "C":
                    start, length = int(first), int(second)
                    sizes = [_after_cut(size, start, length) for size in sizes]
                elif kind == "T":
                    moment, size = float(first), int(second)
                    # what a person truncated has no times
                    while sizes and sizes[-1] > size:
                        sizes.pop()
                        moments.pop()
                    sizes.append(size)
                    moments.append(moment)
            except ValueError:
                continue  # a torn line
        return cls(sizes, moments)

    def __bool__(self) -> bool:
        return bool(self._sizes)

    @property
    def last(self) -> float:
        """Return when the log grew last; 0 without times."""
        return self._moments[-1] if self._moments else 0.0

    def at(self, offset: int) -> float | None:
        """Return when the byte before ``offset`` was written, within the keeper's distance."""
        if not self._sizes:
            return None
        return self._moments[min(bisect.bisect_left(self._sizes, offset), len(self._sizes) - 1)]

    def since(self, moment: float) -> int:
        """Return the offset (bytes) from which on everything was written after ``moment``."""
        # moments ascend but where the clock was set back: look from the end
        for number in range(len(self._moments) - 1, -1, -1):
            if self._moments[number] < moment:
                return self._sizes[number]
        return 0


def _after_cut(size: int, start: int, length: int) -> int:
    return size if size <= start else max(size - length, start)
