"""Reap the orphans of a container, which PID 1 inherits.

Outside of containers init does this, and the reaper has no work.
"""

import os
from pathlib import Path
from typing import Final

from rekindle.daemon.service.part import Part
from rekindle.jobs import process

# code of this process that started a child waits for it well within this time
_GRACE_S: Final = 5.0


class Reaper(Part):
    """Reap zombies for which no code of this process waits."""

    name = "orphans"
    serves = False

    def __init__(self, *, needed: bool | None = None) -> None:
        self._needed = os.getpid() == 1 if needed is None else needed
        self._seen: dict[int, float] = {}

    def is_due(self, now: float) -> bool:
        return self._needed

    def tick(self, now: float) -> list[int]:
        """Reap the zombies that are due; return their pids."""
        zombies = [pid for pid in process.children(os.getpid()) if _is_zombie(pid)]
        self._seen = {pid: self._seen.get(pid, now) for pid in zombies}
        reaped = []
        for pid, since in self._seen.items():
            if now - since >= _GRACE_S:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue
                reaped.append(pid)
        return reaped


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
