"""Talking to systemd: readiness, status, watchdog. Nothing happens where it is not there.

Protocol: sd_notify(3).
"""

import os
import socket


def notify(*assignments: str) -> None:
    """Sends e.g. ``"READY=1"``, ``"STATUS=2 jobs running"`` to the service manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(address)
            sock.sendall("\n".join(assignments).encode())
        except OSError:
            # the manager restarting is no reason for the daemon to end
            return
