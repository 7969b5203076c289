"""Notify systemd of readiness, status and life signs; without systemd do nothing.

Protocol: sd_notify(3), sd_watchdog_enabled(3).
"""

import os
import socket
from typing import Final

MORE_TIME: Final = f"EXTEND_TIMEOUT_USEC={30 * 1_000_000}"
"""Requests 30 more seconds for the stop; to be sent again before they are over."""
_MORE_TIME_EVERY_S: Final = 5.0
_SEND_S: Final = 0.5


def notify(*assignments: str) -> None:
    """Send e.g. ``"READY=1"``, ``"STATUS=2 jobs running"`` to the service manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # a manager that does not read must not block the loop
            sock.settimeout(_SEND_S)
            sock.connect(address)
            sock.sendall("\n".join(assignments).encode(errors="replace"))
    except OSError:
        # a manager that restarts or hangs, or too many open files, must not end the daemon
        return


def watchdog_seconds() -> float | None:
    """Return the watchdog limit of this process in seconds; None for no limit."""
    try:
        seconds = int(os.environ["WATCHDOG_USEC"]) / 1e6
        pid = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return seconds if seconds > 0 and pid == os.getpid() else None


class Lifeline:
    """Ping the watchdog of systemd after each tick; no other code may do so."""

    def __init__(self) -> None:
        watched = watchdog_seconds()
        self.interval = watched / 3 if watched else None
        """Longest time between two pings in seconds; None without a watchdog."""
        self._last_ping = float("-inf")
        self._last_status = ""
        self._last_more_time = float("-inf")

    def more_time(self, now: float) -> None:
        """Request more time for the stop; called at every tick while trainers save."""
        if now - self._last_more_time >= _MORE_TIME_EVERY_S:
            self._last_more_time = now
            notify(MORE_TIME)

    def tick_was_good(self, now: float, status: str) -> None:
        """Send the ping and the status, if they are due.

        Args:
            now: monotonic time, seconds.
            status: one line for ``systemctl status``; sent if it has changed.
        """
        assignments = []
        # a tick may be late: pinged well before the interval is over
        if self.interval is not None and now - self._last_ping >= self.interval / 2:
            assignments.append("WATCHDOG=1")
            self._last_ping = now
        if status != self._last_status:
            assignments.append(f"STATUS={status}")
            self._last_status = status
        if assignments:
            notify(*assignments)
