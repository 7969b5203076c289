"""Talk to systemd: readiness, status, watchdog. Without systemd nothing happens.

Protocol: sd_notify(3), sd_watchdog_enabled(3).
"""

import os
import socket
from typing import Final

MORE_TIME: Final = f"EXTEND_TIMEOUT_USEC={30 * 1_000_000}"
"""Asks for half a minute more to stop in; to be said again before that is over."""
_MORE_TIME_EVERY_S: Final = 5.0
_SEND_S: Final = 0.5


def notify(*assignments: str) -> None:
    """Send e.g. ``"READY=1"``, ``"STATUS=2 jobs running"`` to the service manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # a manager that does not read must not hold up the loop
        sock.settimeout(_SEND_S)
        try:
            sock.connect(address)
            sock.sendall("\n".join(assignments).encode())
        except OSError:
            # a manager that restarts, or hangs, is no reason for the daemon to end
            return


def watchdog_seconds() -> float | None:
    """Give the seconds systemd waits for a sign of life of this process; None for no limit."""
    try:
        seconds = int(os.environ["WATCHDOG_USEC"]) / 1e6
        pid = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return seconds if seconds > 0 and pid == os.getpid() else None


class Lifeline:
    """Tell systemd that the loop lives, after each tick; nothing else may do that."""

    def __init__(self) -> None:
        watched = watchdog_seconds()
        self.interval = watched / 3 if watched else None
        """Seconds between two pings at most; None where nobody waits for them."""
        self._last_ping = float("-inf")
        self._last_status = ""
        self._last_more_time = float("-inf")

    def more_time(self, now: float) -> None:
        """Ask for more time to stop in; called at every tick in which that is due."""
        if now - self._last_more_time >= _MORE_TIME_EVERY_S:
            self._last_more_time = now
            notify(MORE_TIME)

    def tick_was_good(self, now: float, status: str) -> None:
        """Send what is due.

        Args:
            now: monotonic time, seconds.
            status: one line for ``systemctl status``; sent where it is a new one.
        """
        said = []
        # a tick may come a little late: pinged well before the interval is over
        if self.interval is not None and now - self._last_ping >= self.interval / 2:
            said.append("WATCHDOG=1")
            self._last_ping = now
        if status != self._last_status:
            said.append(f"STATUS={status}")
            self._last_status = status
        if said:
            notify(*said)
