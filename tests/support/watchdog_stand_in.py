"""Stand-in for systemd's watchdog: receives notifications of a daemon and measures silences."""

import itertools
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LIMIT_S: Final = 5.0
_LOOK_S: Final = 0.25
_NUMBERS: Final = itertools.count(1)


@dataclass(slots=True)
class Heard:
    """Collect the notifications of a daemon.

    Attributes:
        messages: each assignment, with the monotonic time of its arrival.
        longest: the longest silence between READY=1 and the end, seconds.
    """

    messages: list[tuple[float, str]] = field(default_factory=list)
    longest: float = 0.0

    def times(self, assignment: str) -> list[float]:
        return [at for at, text in self.messages if text == assignment]


class Watchdog:
    """Act as the service manager of one daemon, until :meth:`close`.

    As systemd does, it expects WATCHDOG=1 from READY=1 on. Times in which the host did not
    schedule this thread itself do not count as silence of the daemon.
    """

    def __init__(self) -> None:
        self.address = f"@rekindle-test-{os.getpid()}-{next(_NUMBERS)}"
        self.heard = Heard()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + self.address[1:])
        self._sock.settimeout(_LOOK_S)
        self._pid: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(LIMIT_S * 1e6))}

    def follow(self, pid: int) -> None:
        """Set the daemon: silence while it is stopped by a signal, or has ended, does not count."""
        self._pid = pid

    def close(self) -> None:
        """End the watch; call it as soon as the daemon has ended."""
        self._ended.set()
        self._thread.join(10)
        self._sock.close()

    def _listen(self) -> None:
        ready, silent, before = False, 0.0, time.monotonic()
        while not self._ended.is_set():
            said = ""
            try:
                said = self._sock.recv(65536).decode()
            except TimeoutError:
                pass
            now = time.monotonic()
            if _runs(self._pid):
                silent += min(now - before, 2 * _LOOK_S)
            before = now
            for line in said.splitlines():
                self.heard.messages.append((now, line))
                if line in ("READY=1", "WATCHDOG=1"):
                    ready, silent = True, 0.0
            if ready:
                self.heard.longest = max(self.heard.longest, silent)


def _runs(pid: int | None) -> bool:
    if pid is None:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "TtZX"
