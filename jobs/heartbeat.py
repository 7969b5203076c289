"""The heartbeat file: where a trainer is, readable by the daemon without asking it.

One JSON line, padded to a fixed size and written in place: no fsync, since a reboot ends
the trainer anyway, and no rename, since it is written often.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

_SIZE = 256
_PERIOD_S = 0.5


@dataclass(frozen=True, slots=True)
class Beat:
    """What was read from a heartbeat file.

    Attributes:
        at: unix time of the beat, seconds.
        section: start, script, compile, step, validation or save.
        epoch: 0-based epoch in work; step: batches trained in the whole run.
        attempt: 1-based number of the attempt.
    """

    at: float
    attempt: int
    section: str
    epoch: int
    step: int


class Heartbeat:
    """Writes beats; a beat within half a second of the last one in its section is skipped."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._attempt = attempt
        self._section = ""
        self._due = 0.0

    def beat(self, section: str, epoch: int = 0, step: int = 0) -> None:
        """Notes progress; a full disk is no reason to fail here."""
        now = time.monotonic()
        if section == self._section and now < self._due:
            return
        self._section, self._due = section, now + _PERIOD_S
        line = json.dumps([1, time.time(), self._attempt, section, epoch, step])
        try:
            os.pwrite(self._fd, line.ljust(_SIZE - 1).encode() + b"\n", 0)
        except OSError:
            pass


def read(path: Path) -> Beat | None:
    """The last beat, or None where there is none that can be read."""
    try:
        version, at, attempt, section, epoch, step = json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    if version != 1:
        return None
    return Beat(float(at), int(attempt), str(section), int(epoch), int(step))
